"""Gaussian noise addressed by absolute frame: any window can be drawn again, in any order, with the same values."""

from __future__ import annotations

import hashlib

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.types import FloatArray

#: Random 64-bit words that Philox gives for one step of its counter.
BLOCK = 4


def noise(seed: int, purpose: str, first_frame: int, count: int, channels: int, bins: int) -> FloatArray:
    """Unit noise [C, count, F] of the frames from `first_frame` (0 or later) on.

    Seed and purpose ("view", "reference", ...) choose one of 2^128 endless sequences. Philox 4x64 (Salmon et al. 2011)
    counts the frames, Box-Muller makes its words Gaussian: unlike rejection methods it spends the same number on each.
    """
    if first_frame < 0 or count < 0:
        raise UsageError(f"noise has no frames {first_frame} .. {first_frame + count - 1}; frames count from 0")
    pairs = -(-channels * bins // 2)
    blocks = -(-2 * pairs // BLOCK)
    key = np.frombuffer(hashlib.blake2b(f"{purpose}:{seed}".encode(), digest_size=16).digest(), np.uint64)
    words = np.random.Philox(key=key, counter=first_frame * blocks).random_raw(count * blocks * BLOCK)
    uniform = ((words >> np.uint64(11)) + 0.5) * 2.0**-53
    u, v = np.moveaxis(uniform.reshape(count, blocks * BLOCK)[:, : 2 * pairs].reshape(count, 2, pairs), 1, 0)
    radius, angle = np.sqrt(-2.0 * np.log(u)), 2.0 * np.pi * v
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, : channels * bins]
    return np.ascontiguousarray(normal.reshape(count, channels, bins).transpose(1, 0, 2), np.float32)
