"""The study's figures as functions of log-mels; no network. mel: [J, B], 100 frames a second, natural log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from safa_stream.evaluation import spectra
from safa_stream.evaluation.aliasing import Window
from safa_stream.layout import ViewLayout
from safa_stream.models.builtin.features import Array
from safa_stream.types import DoubleArray

#: Level and colour are means over so many seconds on both sides of a place.
LEVEL_SECONDS = 1.6
#: A change of prompt is followed in windows of so many seconds.
CHANGE_SECONDS = 0.64


def level_step(mel: Array, at: float) -> float:
    """How far level and colour differ before and after `at` seconds: mean over bands of |difference of means|, nats.

    nan where the sound has not as much on both sides.
    """
    middle, reach = round(at * spectra.FRAMES_PER_SECOND), round(LEVEL_SECONDS * spectra.FRAMES_PER_SECOND)
    if middle < reach or middle + reach > len(mel):
        return float("nan")
    before, after = mel[middle - reach : middle], mel[middle : middle + reach]
    return float(np.abs(after.mean(0, dtype=np.float64) - before.mean(0, dtype=np.float64)).mean())


def level_steps(mel: Array, layout: ViewLayout, views: int, frames_per_second: float) -> tuple[float, float]:
    """(across seams, inside views): mean of `level_step` at the overlaps' middles and at the views' middles."""
    seams = [(view * layout.hop + layout.overlap / 2) / frames_per_second for view in range(1, views)]
    insides = [(view * layout.hop + layout.view / 2) / frames_per_second for view in range(views)]
    return mean_of([level_step(mel, at) for at in seams]), mean_of([level_step(mel, at) for at in insides])


def linear_windows(layout: ViewLayout, views: int, frames_per_second: float) -> tuple[list[Window], list[Window]]:
    """Where the overlaps and the Mids of views in a line sound, in seconds."""
    hop, overlap = layout.hop / frames_per_second, layout.overlap / frames_per_second
    overlaps = [(view * hop, view * hop + overlap) for view in range(1, views)]
    return overlaps, [(view * hop + overlap, (view + 1) * hop) for view in range(views)]


def share_of_the_way(mel: Array, old: DoubleArray, new: DoubleArray) -> DoubleArray:
    """How far each window of a sound is from the old mean log-mel [B] (0) to the new one (1), [windows]."""
    width = round(CHANGE_SECONDS * spectra.FRAMES_PER_SECOND)
    count = len(mel) // width
    means = mel[: count * width].reshape(count, width, -1).mean(1, dtype=np.float64)
    way = new - old
    return np.asarray((means - old) @ way / (way @ way))


def reached(shares: DoubleArray, least: float) -> float:
    """Seconds until the first window that has `least` of the way and after which the mean keeps it; nan if never."""
    after = np.cumsum(shares[::-1])[::-1] / np.arange(len(shares), 0, -1)
    found = np.flatnonzero((shares >= least) & (after >= least))
    return float(found[0] * CHANGE_SECONDS) if len(found) else float("nan")


def mean_of(values: Sequence[float]) -> float:
    """Mean of those that are numbers; nan where none is."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def colour(mel: Array) -> DoubleArray:
    """Mean log-mel [B]."""
    return np.asarray(mel.mean(0, dtype=np.float64))
