"""Loudness after ITU-R BS.1770-4 (K weighting, gated blocks of 400 ms), by FFT so that numpy is all it needs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from safa_stream.models.builtin.features import SAMPLE_RATE, Array

Array64 = npt.NDArray[np.float64]

ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0
#: Filtering runs in pieces of this length with a second of lead, far longer than the filters ring.
PIECE_SECONDS = 30


def _shelf(rate: int) -> tuple[Array64, Array64]:
    """Numerator and denominator of the high shelf for any rate; the constants give the standard's table at 48 kHz."""
    k = np.tan(np.pi * 1681.974450955533 / rate)
    q, high = 0.7071752369554196, 10.0 ** (3.999843853973347 / 20.0)
    middle = high**0.4996667741545416
    scale = 1.0 + k / q + k * k
    top = np.array([high + middle * k / q + k * k, 2.0 * (k * k - high), high - middle * k / q + k * k]) / scale
    return top, np.array([1.0, 2.0 * (k * k - 1.0) / scale, (1.0 - k / q + k * k) / scale])


def _high_pass(rate: int) -> tuple[Array64, Array64]:
    k, q = np.tan(np.pi * 38.13547087602444 / rate), 0.5003270373238773
    scale = 1.0 + k / q + k * k
    return np.array([1.0, -2.0, 1.0]), np.array([1.0, 2.0 * (k * k - 1.0) / scale, (1.0 - k / q + k * k) / scale])


def weighted_power(samples: Array, rate: int = SAMPLE_RATE) -> Array64:
    """K-weighted power summed over channels, mean over each tenth of a second: [channels, N] to [N // (rate / 10)]."""
    tenth, lead = rate // 10, rate
    count = samples.shape[-1] // tenth
    piece = PIECE_SECONDS * 10
    out = np.empty(count)
    for start in range(0, count, piece):
        stop = min(count, start + piece)
        begin = max(0, start * tenth - lead)
        part = np.atleast_2d(samples)[:, begin : stop * tenth].astype(np.float64)
        size = -(-(part.shape[-1] + lead) // rate) * rate
        turn = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
        powers = np.stack([np.ones_like(turn), turn, turn**2])
        response = np.ones_like(turn)
        for top, bottom in (_shelf(rate), _high_pass(rate)):
            response = response * (top @ powers) / (bottom @ powers)
        filtered = np.fft.irfft(np.fft.rfft(part, size) * response, size)
        wanted = filtered[:, start * tenth - begin : stop * tenth - begin]
        out[start:stop] = (wanted**2).sum(0).reshape(stop - start, tenth).mean(1)
    return out


def _lufs(power: npt.ArrayLike) -> Array64:
    return np.asarray(-0.691 + 10.0 * np.log10(np.maximum(power, 1e-12)))


def momentary(samples: Array, rate: int = SAMPLE_RATE) -> Array64:
    """Loudness in LUFS of every 400 ms block, a block every 100 ms; one block for a shorter sound."""
    power = weighted_power(samples, rate)
    width = max(1, min(4, len(power)))
    return _lufs(np.convolve(power, np.ones(width) / width, mode="valid"))


def integrated(samples: Array, rate: int = SAMPLE_RATE) -> float:
    """Gated programme loudness in LUFS; -70 where all is below the gate."""
    return gated(momentary(samples, rate))


def gated(blocks: Array64) -> float:
    """Programme loudness of momentary blocks (LUFS)."""
    power = 10.0 ** ((blocks[blocks > ABSOLUTE_GATE] + 0.691) / 10.0)
    if not len(power):
        return ABSOLUTE_GATE
    return float(_lufs(power[_lufs(power) > _lufs(power.mean()) + RELATIVE_GATE].mean()))


def spread(samples: Array, rate: int = SAMPLE_RATE) -> float:
    """How much loudness moves: 95th minus 10th percentile of the momentary loudness above the absolute gate, LU."""
    blocks = momentary(samples, rate)
    heard = blocks[blocks > ABSOLUTE_GATE]
    return float(np.percentile(heard, 95) - np.percentile(heard, 10)) if len(heard) else 0.0
