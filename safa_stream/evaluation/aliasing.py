"""The aliasing ratio: how fast a sound changes inside overlaps, beside how fast it changes where one view is alone.

    D[k] = mean over 64 mel bands of |log(M[k] + 1e-10) - log(M[k-1] + 1e-10)|
    ratio = mean D inside overlap windows / mean D inside Mid windows

1: overlaps change as fast as the interior; below 1: they are smeared; above 1: they are rougher. Needs no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import soxr

from safa_stream.evaluation import spectra
from safa_stream.layout import ViewLayout
from safa_stream.models.builtin.features import Array, hz_to_mel, mel_to_hz
from safa_stream.types import DoubleArray

RATE, SIZE, HOP, BANDS, HIGH_HZ = 16_000, 1024, 160, 64, 8000.0
FLOOR = 1e-10
#: Seconds that are left out at both ends of every window.
TRIM = 0.1

#: A stretch of sound, from and to, in seconds.
Window = tuple[float, float]


def at_paper_rate(samples: Array, rate: int) -> Array:
    """[channels, N] or [N] at `rate` to mono [N'] at 16 kHz."""
    return np.asarray(soxr.resample(spectra.mono(samples), rate, RATE), np.float32)


def mel_bands() -> DoubleArray:
    """Triangular bands [513, 64] of unit peak over 0 to 8 kHz, mel = 2595 log10(1 + f / 700)."""
    hz = np.fft.rfftfreq(SIZE, 1.0 / RATE)
    edges = mel_to_hz(np.linspace(0.0, hz_to_mel(HIGH_HZ), BANDS + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (hz[:, None] - low) / (centre - low), (high - hz[:, None]) / (high - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


def log_mel(samples: Array | DoubleArray) -> DoubleArray:
    """Log-mel [k, 64] of samples [N], mono at 16 kHz.

    Frames are Hann windows of 1024 samples every 160, unpadded; a magnitude is divided by the window's sum and squared.
    """
    window = np.hanning(SIZE + 1)[:-1]
    parts = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), SIZE)[::HOP]
    power = np.abs(np.fft.rfft(parts * window, axis=1) / window.sum()) ** 2
    return np.asarray(np.log(power @ mel_bands() + FLOOR))


def change(samples: Array) -> tuple[DoubleArray, DoubleArray]:
    """Times in seconds and D [k] of samples [N], mono at 16 kHz; D[k] is timed at the centre of frame k."""
    level = log_mel(samples)
    times = (np.arange(1, len(level)) * HOP + SIZE / 2) / RATE
    return times, np.abs(np.diff(level, axis=0)).mean(1)


def circular_windows(layout: ViewLayout, views: int, frames_per_second: float) -> tuple[list[Window], list[Window]]:
    """Where overlaps and Mids of `views` on a circle sound; view i's overlap with the one before is its beginning.

    No Mids where overlaps cover everything (from half a view on).
    """
    starts = [view * layout.hop / frames_per_second for view in range(views)]
    overlap, hop = layout.overlap / frames_per_second, layout.hop / frames_per_second
    overlaps = [(start, start + min(overlap, hop)) for start in starts]
    return overlaps, [(start + overlap, start + hop) for start in starts if overlap < hop]


def linear_windows(layout: ViewLayout, views: int, frames_per_second: float) -> tuple[list[Window], list[Window]]:
    """Where overlaps and Mids of `views` in a line sound; the ends that no neighbour covers count as Mid."""
    starts = [view * layout.hop / frames_per_second for view in range(views)]
    overlap, hop = layout.overlap / frames_per_second, layout.hop / frames_per_second
    overlaps = [(start, start + overlap) for start in starts[1:]]
    middles = [(start + (overlap if view else 0.0), start + hop) for view, start in enumerate(starts)]
    return overlaps, middles


def mean_inside(times: DoubleArray, level: DoubleArray, windows: Sequence[Window], trim: float = TRIM) -> float:
    """Mean of `level` at the times inside any of the windows, each trimmed at both ends; nan where there are none."""
    chosen: npt.NDArray[np.bool_] = np.zeros(len(times), bool)
    for begin, end in windows:
        chosen |= (times >= begin + trim) & (times <= end - trim)
    return float(level[chosen].mean()) if chosen.any() else float("nan")


def aliasing_ratio(samples: Array, overlaps: Sequence[Window], middles: Sequence[Window], trim: float = TRIM) -> float:
    """The ratio of samples [N], mono at 16 kHz; nan where no overlap or no Mid is left after trimming."""
    times, level = change(samples)
    return mean_inside(times, level, overlaps, trim) / mean_inside(times, level, middles, trim)


def folded(times: DoubleArray, level: DoubleArray, period: float, width: float) -> DoubleArray:
    """Mean of `level` by place within a period of `period` seconds, in bins of `width` seconds; empty bins are nan."""
    bins = max(1, round(period / width))
    place = np.minimum((times % period / period * bins).astype(int), bins - 1)
    total = np.bincount(place, level, bins)
    return np.asarray(np.where(np.bincount(place, minlength=bins) > 0, total, np.nan)) / np.maximum(
        np.bincount(place, minlength=bins), 1
    )
