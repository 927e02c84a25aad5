"""Sounds to mix, and what the mixer makes of them in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from safa_stream.session import mixing
from safa_stream.session.mixing import MixState
from safa_stream.types import FloatArray

RATE = 48_000
BLOCK = 960


def noise(samples: int, seed: int = 0, decibels: float = -20.0) -> FloatArray:
    return (10 ** (decibels / 20) * np.random.default_rng(seed).standard_normal((2, samples))).astype(np.float32)


def sine(samples: int, frequency: float = 440.0, amplitude: float = 0.5) -> FloatArray:
    tone = amplitude * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)
    return np.stack([tone, tone]).astype(np.float32)


def played(state: MixState, sounds: dict[int, FloatArray], start: int = 0, stop: int | None = None) -> Any:
    """(state, samples) after blocks of BLOCK."""
    parts = []
    stop = next(iter(sounds.values())).shape[1] if stop is None else stop
    for at in range(start, stop, BLOCK):
        piece = {layer: sound[:, at : min(at + BLOCK, stop)] for layer, sound in sounds.items()}
        state, part = mixing.mix(state, piece)
        parts.append(part)
    return state, np.concatenate(parts, axis=1)


def rms(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
