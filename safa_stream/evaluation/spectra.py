"""Spectral measures of a sound: bands, modulation, crest, onsets, stereo, and the change at frame borders.

Shapes: N samples at 48 kHz, J mel frames (100 a second), B = 96 bands, M modulation bands.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from safa_stream.models.builtin import features
from safa_stream.models.builtin.features import Array
from safa_stream.types import DoubleArray

FRAMES_PER_SECOND = features.SAMPLE_RATE / features.HOP
#: Neighbouring mel bands are summed in groups of this size before envelopes are looked at.
BAND_GROUP = 8
#: Edges of the modulation bands in Hz: half octaves from 0.5, the last one cut at 20.
MODULATION_EDGES = np.array([0.5 * 2 ** (k / 2) for k in range(11)] + [20.0])
MODULATION_WINDOW = 400
#: An onset rises by so many nats more than its surroundings do, in the mean over groups of bands.
ONSET_RISE = 0.35
ONSET_GAP = 0.05
#: Bands quieter than this under the loudest (nats) count as silent, so that noise at the floor has no onsets.
ONSET_RANGE = 12.0


def mono(samples: Array) -> Array:
    """[channels, N] or [N] to [N]: the mean of the channels."""
    return np.asarray(samples if samples.ndim == 1 else samples.mean(0), np.float32)


def log_mel(samples: Array) -> Array:
    """Log-mel [J, B] of the mean of the channels, natural log."""
    return features.log_mel(mono(samples))


def band_energies(mel: Array) -> DoubleArray:
    """Power [J, B / 8] of groups of neighbouring bands of a log-mel [J, B]."""
    frames, bands = mel.shape
    grouped = np.exp(mel.astype(np.float64)).reshape(frames, bands // BAND_GROUP, BAND_GROUP)
    return np.asarray(grouped.mean(2))


def modulation_spectrum(mel: Array) -> DoubleArray:
    """Power [M] of the envelopes' relative changes by modulation band, 0.5 to 20 Hz, mean over groups of bands.

    An envelope is the root of a group's energy over its mean, so a sinusoidal change of depth d (1 + d sin) has power
    d²/2. Windows of 4 s with half overlap; a shorter sound is one window.
    """
    envelope = np.sqrt(band_energies(mel))
    envelope /= envelope.mean(0) + 1e-12
    frames = len(envelope)
    length = min(frames, MODULATION_WINDOW)
    starts = range(0, max(1, frames - length + 1), max(1, length // 2))
    window = np.hanning(length + 1)[:-1, None]
    total = np.zeros(MODULATION_WINDOW // 2 + 1)
    for start in starts:
        part = envelope[start : start + length]
        spectrum = np.fft.rfft((part - part.mean(0)) * window, MODULATION_WINDOW, axis=0)
        total += (np.abs(spectrum) ** 2).mean(1)
    density = 2.0 * total / (len(starts) * FRAMES_PER_SECOND * (window**2).sum())
    hz = np.fft.rfftfreq(MODULATION_WINDOW, 1.0 / FRAMES_PER_SECOND)
    band = np.searchsorted(MODULATION_EDGES, hz + 1e-9, side="right") - 1
    inside = (hz >= MODULATION_EDGES[0]) & (hz <= MODULATION_EDGES[-1])
    band = np.minimum(band, len(MODULATION_EDGES) - 2)
    return np.asarray(np.bincount(band[inside], density[inside], len(MODULATION_EDGES) - 1) * (hz[1] - hz[0]))


def modulation_error(generated: DoubleArray, real: DoubleArray) -> float:
    """Mean over modulation bands of |difference| in dB between two modulation spectra [M]."""
    return float(np.abs(10.0 * np.log10((generated + 1e-9) / (real + 1e-9))).mean())


def crest_factor(samples: Array) -> float:
    """Largest magnitude over the root mean square, all channels together (a sine: 1.414)."""
    rms = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    return float(np.abs(samples).max()) / rms if rms > 0.0 else 0.0


def onsets(mel: Array) -> npt.NDArray[np.intp]:
    """Mel frames [K] where a sound begins: peaks of the spectral flux above its local median."""
    energy = np.log(band_energies(mel) + 1e-12)
    energy = np.maximum(energy, energy.max() - ONSET_RANGE)
    flux = np.zeros(len(energy))
    flux[2:] = np.maximum(0.0, energy[2:] - energy[:-2]).mean(1)
    reach = int(FRAMES_PER_SECOND // 2)
    padded = np.pad(flux, reach, mode="reflect" if len(flux) > reach else "edge")
    local = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1)
    gap = int(ONSET_GAP * FRAMES_PER_SECOND)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(flux, gap), 2 * gap + 1).max(1)
    peaks = np.flatnonzero((flux >= around) & (flux > local + ONSET_RISE))
    return peaks[np.diff(peaks, prepend=-2 * gap) > gap]


def onset_rate(mel: Array) -> float:
    """Onsets a second."""
    return len(onsets(mel)) * FRAMES_PER_SECOND / max(1, len(mel))


def channel_correlation(samples: Array) -> float:
    """Correlation of left and right, -1 to 1; 1 for mono and for silence."""
    if samples.ndim == 1 or len(samples) < 2:
        return 1.0
    left, right = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in samples[:2])
    scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / scale if scale > 0.0 else 1.0


def change(mel: Array) -> DoubleArray:
    """Mean |Δ log-mel| over bands at every border [J - 1]: entry j is between frames j and j + 1."""
    return np.asarray(np.abs(np.diff(mel.astype(np.float64), axis=0)).mean(1))
