"""A look-ahead true-peak limiter that works step by step (BS.1770-4 annex 2, four times oversampled).

    peaks    the highest magnitude over channels and four points a sample
    wanted   ceiling / peak where a peak is above the ceiling, else 1
    held     the least wanted gain within `reach` on both sides
    gain     held, smoothed over the same reach: continuous, and never above wanted

The gain has finite memory on both sides, so the result depends on the samples alone and not on how they came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safa_stream.peaks import RISE, TAPS, true_peaks
from safa_stream.types import FloatArray

REACH_SECONDS = 0.008
#: Steps between a step's arrival and its leaving.
DELAY = 2


@dataclass(frozen=True, slots=True)
class Limiter:
    """A ceiling (linear, true peak) for steps [channels, step]; the step is longer than the gain's whole reach."""

    ceiling: float
    step: int
    reach: int


@dataclass(frozen=True, slots=True)
class LimiterState:
    """The last two steps [channels, 2 * step] and the wanted gain [2 * step] of the two before the last."""

    samples: FloatArray
    wanted: FloatArray
    arrived: int = 0


def limiter(ceiling_db: float, rate: int, step: int) -> Limiter:
    """A limiter that keeps true peaks at or below `ceiling_db` (dBTP)."""
    reach = max(1, min(round(REACH_SECONDS * rate), step // 2 - 1))
    return Limiter(10 ** (ceiling_db / 20), step, reach)


def begin(limiter: Limiter, channels: int) -> LimiterState:
    """The state before the first step: silence came before it."""
    samples = np.zeros((channels, 2 * limiter.step), np.float32)
    return LimiterState(samples, np.ones(2 * limiter.step, np.float32))


def push(limiter: Limiter, state: LimiterState, step: FloatArray) -> tuple[LimiterState, FloatArray | None]:
    """Take one step [channels, step] in and hand out the step of two calls before, None while there is none.

    Push DELAY steps of silence at the end to get the last ones out.
    """
    size = limiter.step
    samples = np.concatenate([state.samples, step], axis=1)
    newest = _wanted_gain(limiter, samples[:, size - TAPS : 2 * size + TAPS])
    wanted = np.concatenate([state.wanted, newest])
    after = LimiterState(samples[:, size:], wanted[size:], state.arrived + 1)
    if state.arrived < DELAY:
        return after, None
    return after, samples[:, :size] * _gain(limiter, wanted)


def limit(limiter: Limiter, samples: FloatArray, circular: bool = False) -> FloatArray:
    """A whole recording [channels, N] limited; `circular` treats its end as what comes before its beginning."""
    channels, length = samples.shape
    size = limiter.step
    lead = size if circular else 0
    if circular:
        index = np.arange(-size, length + size) % length
        samples = samples[:, index]
    padded = np.pad(samples, ((0, 0), (0, -samples.shape[1] % size + DELAY * size)))
    state, parts = begin(limiter, channels), []
    for start in range(0, padded.shape[1], size):
        state, part = push(limiter, state, padded[:, start : start + size])
        if part is not None:
            parts.append(part)
    return np.concatenate(parts, axis=1)[:, lead : lead + length]


def _wanted_gain(limiter: Limiter, samples: FloatArray) -> FloatArray:
    length = samples.shape[1] - 2 * TAPS
    if float(np.abs(samples).max()) <= limiter.ceiling / RISE:
        return np.ones(length, np.float32)
    peaks = true_peaks(samples, limiter.ceiling)
    return np.asarray(limiter.ceiling / np.maximum(peaks, limiter.ceiling), np.float32)


def _gain(limiter: Limiter, wanted: FloatArray) -> FloatArray:
    """Gain [step] of the middle one of three steps of wanted gain."""
    size, reach = limiter.step, limiter.reach
    near = wanted[size - 2 * reach : 2 * size + 2 * reach]
    if float(near.min()) == 1:
        return wanted[size : 2 * size]
    held = _least(near, 2 * reach + 1)
    return _average(_average(held, reach + 1), reach + 1).astype(np.float32)


def _least(values: FloatArray, width: int) -> FloatArray:
    """Minimum of each run of `width` values, by doubling the run's length."""
    reached = 1
    while reached < width:
        shift = min(reached, width - reached)
        values = np.minimum(values[:-shift], values[shift:])
        reached += shift
    return values


def _average(values: NDArray[np.floating], width: int) -> NDArray[np.floating]:
    """Mean of each run of `width` values."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    return np.asarray((sums[width:] - sums[:-width]) / width)
