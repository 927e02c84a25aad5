"""What a recording holds of partials, noise and pulses by frame and band: the truth that hints are learned from.

A spectral peak is a partial as far as its phase goes on as its frequency says: the cosine of the error between one
window and the next that does not overlap it is 1 for a steady or evenly gliding sinusoid and 0 on average for noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from safa_stream.models.builtin.excitation import PULSE_SAMPLES, excitation
from safa_stream.models.builtin.features import (
    BANDS,
    FFT_SIZE,
    HOP,
    SAMPLE_RATE,
    WINDOWS,
    Array,
    band_edges,
    frames,
)
from safa_stream.models.builtin.tonal import NEAR, hz_to_place, place_to_hz, view

#: Mean of the larger of two cosines of random angles.
CHANCE = 4 / np.pi**2
#: Pulses are looked for in these ranges of frequency (Hz); a range's finding counts for the bands in it.
RANGES = ((500.0, 2000.0), (2000.0, 6000.0), (6000.0, 18000.0))
#: Frames over which the tonal share is averaged, on each side, before noise is told from it.
STEADY = 3
#: A mean share up to this may be chance.
DOUBT = 0.15


@dataclass(frozen=True, slots=True)
class Truth:
    """All [J, B]. share: tonal part of the energy around the band; place: of the strongest peak near its centre, in
    bands from it; left: log of the part of the band that is no partial (nats); pulse: unevenness inside frames."""

    share: Array
    place: Array
    left: Array
    pulse: Array


def examine(mid: Array, mel: Array) -> Truth:
    """The truth of [N] samples, of which `mel` [J, B] is the log-mel."""
    count = len(mel)
    share, place, power = (np.zeros((count, BANDS), np.float32) for _ in range(3))
    centres = band_edges()[1:-1]
    below = 0.0
    for limit, size in WINDOWS:
        chosen = np.flatnonzero((centres >= below) & (centres < limit))
        below = limit
        window = np.hanning(size + 1)[:-1].astype(np.float32)
        bands = slice(int(chosen[0]), int(chosen[-1]) + 1)
        hz, strength, phase = _peaks(mid, window, count, chosen)
        coherence = _coherence(hz, phase, lag=-(-int(0.93 * size) // HOP))
        place[:, bands], power[:, bands], share[:, bands] = hz_to_place(hz), strength, coherence
    seen = view(place)
    energy = np.exp(mel)
    told, around = np.zeros_like(power), np.zeros_like(power)
    for near in (-1, 0, 1):
        here, there = slice(max(0, -near), BANDS - max(0, near)), slice(max(0, near), BANDS + min(0, near))
        told[:, here] += power[:, here] * seen[:, here, near + NEAR]
        around[:, here] += energy[:, there]
    fraction = np.minimum(told / np.maximum(around, 1e-9), 1.0)
    steady = np.clip((_over_time(share * fraction) - DOUBT) / (1 - DOUBT), 0, 1)
    lost = np.zeros_like(power)
    for near in range(-NEAR, NEAR + 1):
        here, there = slice(max(0, -near), BANDS - max(0, near)), slice(max(0, near), BANDS + min(0, near))
        lost[:, there] += (
            steady[:, here] / np.maximum(fraction[:, here], 1e-3) * power[:, here] * seen[:, here, near + NEAR]
        )
    left = np.log(np.clip(1 - lost / energy, 0.01, 1))
    return Truth(share * fraction, place - np.arange(BANDS), left.astype(np.float32), pulses(mid, count))


def _peaks(
    mid: Array, window: Array, count: int, bands: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], Array, Array]:
    """Hz, amplitude squared and phase (at the frame's centre) of the strongest peak near each band's centre."""
    size = len(window)
    step = SAMPLE_RATE / FFT_SIZE
    hz, strength, phase = (np.empty((count, len(bands))) for _ in range(3))
    edges = place_to_hz(np.append(bands, bands[-1] + 1) - 0.5) / step
    low, high = np.ceil(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    width = int((high - low).max())
    bins = np.minimum(low[:, None] + np.arange(width), high[:, None] - 1)
    turn = np.exp(2j * np.pi * np.arange(FFT_SIZE // 2 + 1) * (size / 2) / FFT_SIZE).astype(np.complex64)
    for start in range(0, count, 500):
        stop = min(count, start + 500)
        lead = max(0, start - size // HOP - 1)
        part = mid[lead * HOP : (stop + size // HOP + 1) * HOP]
        spectrum = np.fft.rfft(frames(part, size, stop - lead)[start - lead :] * window, FFT_SIZE)
        magnitude = np.abs(spectrum) + 1e-9
        best = bins[np.arange(len(bands)), magnitude[:, bins].argmax(-1)]
        rows = np.arange(stop - start)[:, None]
        left, peak, right = (np.log(magnitude[rows, best + d]) for d in (-1, 0, 1))
        real = (peak >= left) & (peak >= right)
        bend = np.minimum(left - 2 * peak + right, -1e-4)
        shift = np.where(real, np.clip(0.5 * (left - right) / bend, -0.5, 0.5), 0)
        hz[start:stop] = (best + shift) * step
        level = np.exp(2 * (peak - 0.25 * (left - right) * shift)) * (2 / window.sum()) ** 2
        strength[start:stop] = np.where(real, level, 0)
        phase[start:stop] = np.angle((spectrum * turn)[rows, best])
    return hz, strength.astype(np.float32), phase.astype(np.float32)


def _coherence(hz: npt.NDArray[np.float64], phase: Array, lag: int) -> Array:
    """How well phases go on to the nearest peak `lag` frames away, [J, bands]; about 0 for noise, 1 at most."""
    count, bands = hz.shape
    ahead = np.full((count, bands), -1.0)
    behind = np.full((count, bands), -1.0)
    if count > lag:
        here, there = hz[:-lag], hz[lag:]
        options = np.clip(np.arange(bands)[:, None] + np.arange(-2, 3), 0, bands - 1)
        nearest = np.abs(there[:, options] - here[..., None]).argmin(-1)
        match = options[np.arange(bands), nearest]
        rows = np.arange(count - lag)[:, None]
        cycles = 0.5 * (here + there[rows, match]) * (lag * HOP / SAMPLE_RATE)
        good = np.cos(phase[lag:][rows, match] - phase[:-lag] - 2 * np.pi * cycles)
        ahead[:-lag] = good
        np.maximum.at(behind[lag:], (np.broadcast_to(rows, match.shape), match), good)
    larger = np.maximum(ahead, behind)
    return np.asarray((larger - CHANCE) / (1 - CHANCE), np.float32)


def _over_time(values: Array) -> Array:
    padded = np.pad(values, ((STEADY, STEADY), (0, 0)), mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * STEADY + 1, axis=0).mean(-1))


def concentration(signal: Array, count: int) -> Array:
    """Unevenness of the energy inside each frame's 1024 samples, by millisecond and range of frequency, [J, ranges]."""
    spectrum = np.fft.rfft(signal)
    hz = np.arange(len(spectrum)) * (SAMPLE_RATE / len(signal))
    window = np.hanning(24)[1:-1].astype(np.float32)
    window /= window.sum()
    out = np.empty((count, len(RANGES)), np.float32)
    for index, (low, high) in enumerate(RANGES):
        part = np.fft.irfft(np.where((hz >= low) & (hz < high), spectrum, 0), len(signal)).astype(np.float32)
        energy = (part[: count * HOP].reshape(-1, PULSE_SAMPLES) ** 2).sum(1) + 1e-9
        view_ = np.lib.stride_tricks.sliding_window_view(np.pad(energy, 6, mode="edge"), 22)[:: HOP // PULSE_SAMPLES]
        out[:, index] = np.log(view_ @ window)[:count] - (np.log(view_) @ window)[:count]
    return out


@lru_cache(maxsize=1)
def chance() -> Array:
    """Mean concentration of steady noise, [ranges]."""
    return np.asarray(concentration(excitation(7, 0, 250).steady[0], 1000).mean(0))


def pulses(mid: Array, count: int) -> Array:
    """Unevenness of the energy inside frames beyond that of noise, nats, [J, B]."""
    found = concentration(mid, count) - chance()
    centres = band_edges()[1:-1]
    return np.asarray(found[:, np.digitize(centres, [low for low, _ in RANGES[1:]])], np.float32)
