"""The drift guard: does a layer still sound like its first minute? Loudness, liveliness of the highs, and repetition.

Every hop is measured on the sound before it is levelled. A change of what the layer is told begins a new first minute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from safa_stream.loudness import gated_loudness, step_energies
from safa_stream.types import DoubleArray, FloatArray

#: Hops that make the yardstick, and hops that are looked back on for repetition.
FIRST_HOPS, LOOK_BACK = 8, 32
#: How far loudness may leave the yardstick's range (LU), how far the variance in the highs may leave it (factor), and
#: how alike two hops may be (correlation of their band envelopes at the best lag).
LOUDNESS_MARGIN, VARIANCE_FACTOR, MOST_ALIKE = 6.0, 3.0, 0.97
#: Envelopes are taken every 40 ms in so many bands, evenly spaced in octaves.
ENVELOPE_RATE, LOWEST_BAND, BANDS, HIGH_BANDS = 25, 60.0, 8, 2


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One hop: loudness in LUFS, variance of the frame-to-frame change of the highs in dB^2, envelopes [BANDS, n]."""

    loudness: float
    high_variance: float
    envelopes: DoubleArray


@dataclass(frozen=True, slots=True)
class Alarm:
    """What left its band."""

    measure: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """The yardstick's hops, and the last hops' envelopes."""

    first: tuple[Measured, ...] = ()
    recent: tuple[DoubleArray, ...] = ()


def watch(guard: Guard, pcm: FloatArray, rate: int) -> tuple[Guard, Alarm | None]:
    """Look at one more hop [channels, N]; an alarm where it is out of band."""
    measured = measure(pcm, rate)
    alarm = _alarm(guard, measured) if len(guard.first) == FIRST_HOPS else None
    first = guard.first if len(guard.first) == FIRST_HOPS else (*guard.first, measured)
    return replace(guard, first=first, recent=(*guard.recent, measured.envelopes)[-LOOK_BACK:]), alarm


def measure(pcm: FloatArray, rate: int) -> Measured:
    """The measures of one hop [channels, N]."""
    mono = pcm.mean(axis=0, dtype=np.float64)
    size = rate // ENVELOPE_RATE
    frames = mono[: len(mono) // size * size].reshape(-1, size) * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.geomspace(LOWEST_BAND, rate / 2, BANDS + 1) * size / rate
    columns = np.unique(np.minimum(np.round(edges).astype(int), power.shape[1] - 1))
    bands = 10 * np.log10(np.add.reduceat(power, columns[:-1], axis=1).T + 1e-9)
    change = np.diff(bands[-HIGH_BANDS:], axis=1)
    return Measured(gated_loudness(step_energies(pcm, rate)), float(change.var()) if change.size else 0.0, bands)


def likeness(a: DoubleArray, b: DoubleArray) -> float:
    """Correlation -1..1 of two hops' envelopes at the best lag, each band's mean taken away."""
    length = min(a.shape[1], b.shape[1])
    left, right = (values[:, -length:] - values[:, -length:].mean(1, keepdims=True) for values in (a, b))
    scale = np.sqrt((left**2).sum() * (right**2).sum())
    if scale < 1e-9:
        return 0.0
    lags = np.fft.irfft((np.fft.rfft(left) * np.conj(np.fft.rfft(right))).sum(0), length)
    return float(lags.max() / scale)


def _alarm(guard: Guard, now: Measured) -> Alarm | None:
    levels = [hop.loudness for hop in guard.first if np.isfinite(hop.loudness)]
    if levels and np.isfinite(now.loudness):
        low, high = min(levels) - LOUDNESS_MARGIN, max(levels) + LOUDNESS_MARGIN
        if not low <= now.loudness <= high:
            return Alarm("loudness", now.loudness, low, high)
    variances = [hop.high_variance for hop in guard.first]
    low, high = min(variances) / VARIANCE_FACTOR, max(variances) * VARIANCE_FACTOR
    if not low <= now.high_variance <= high:
        return Alarm("high_variance", now.high_variance, low, high)
    alike = max((likeness(now.envelopes, past) for past in guard.recent), default=0.0)
    return Alarm("self_similarity", alike, -1.0, MOST_ALIKE) if alike > MOST_ALIKE else None
