"""Chance that can be had again: every draw has a key, and the same key gives the same draw, in any order. Pure."""

from __future__ import annotations

from hashlib import blake2b


def draw(seed: int, *key: object) -> float:
    """A number from 0 to 1 (without 1), evenly spread over keys."""
    return whole(seed, *key) / 2**63


def whole(seed: int, *key: object) -> int:
    """A whole number from 0 to 2**63 - 1: a layer's seed, for instance."""
    text = "\0".join(map(repr, (seed, *key)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1
