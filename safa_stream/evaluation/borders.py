"""How much a sound changes at each latent-frame border around the seams between views, beside its interior.

Border k of a sound lies between latent frames k - 1 and k. View v starts at frame v * hop; its first `overlap` frames
are shared with the view before. A profile runs from one overlap before a view's start to one overlap after the overlap:
3 * overlap + 1 borders, of which number `overlap` is the view's start and number 2 * overlap the overlap's end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from safa_stream.evaluation import spectra
from safa_stream.layout import ViewLayout
from safa_stream.models.builtin.features import Array
from safa_stream.types import DoubleArray

#: Second differences are told relative to their mean over so many samples on both sides (10 ms).
LOCAL_SAMPLES = 480
#: Histogram of log10 of those ratios.
JUMP_EDGES = np.linspace(-4.0, 4.0, 8001)


def border_change(mel: Array, frames: int) -> DoubleArray:
    """Change [frames + 1] at every border of a sound of `frames` latent frames, from its log-mel; ends are nan."""
    per_frame = len(mel) / frames
    level = spectra.change(mel)
    out = np.full(frames + 1, np.nan)
    out[1:-1] = level[np.round(np.arange(1, frames) * per_frame).astype(int) - 1]
    return out


def interior_borders(layout: ViewLayout, views: int) -> npt.NDArray[np.bool_]:
    """Which borders [frames + 1] are interior: an overlap away from every overlap, or as far as the views allow."""
    frames = layout.linear_width(views)
    for distance in (layout.overlap, layout.overlap // 2, 1):
        inside = np.ones(frames + 1, bool)
        inside[:3] = inside[-3:] = False
        for view in range(1, views):
            begin = view * layout.hop
            inside[max(0, begin - distance) : begin + layout.overlap + distance + 1] = False
        if inside.sum() >= 8:
            return inside
    return inside


def profile_rows(level: DoubleArray, layout: ViewLayout, views: int) -> DoubleArray:
    """One row [3 * overlap + 1] a seam: change at its borders over the interior's mean."""
    base = float(np.nanmean(level[interior_borders(layout, views)]))
    rows = np.full((views - 1, 3 * layout.overlap + 1), np.nan)
    for seam in range(views - 1):
        begin = (seam + 1) * layout.hop - layout.overlap
        for place in range(rows.shape[1]):
            if 0 <= begin + place < len(level):
                rows[seam, place] = level[begin + place] / base
    return rows


def jump_ratios(samples: Array) -> DoubleArray:
    """|Second difference| of every sample but the outermost [N - 2] over its local mean, largest of the channels."""
    second = np.abs(np.diff(np.atleast_2d(samples).astype(np.float64), 2, axis=-1))
    width = 2 * LOCAL_SAMPLES + 1
    total = np.cumsum(np.pad(second, ((0, 0), (LOCAL_SAMPLES + 1, LOCAL_SAMPLES)), mode="reflect"), axis=-1)
    local = (total[:, width:] - total[:, :-width]) / width
    return np.asarray((second / (local + 1e-9)).max(0))


@dataclass(slots=True)
class Jumps:
    """Sample-level jumps at chunk borders against those of all other samples, pooled over sounds."""

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(JUMP_EDGES) - 1, np.int64))
    at_borders: list[float] = field(default_factory=list)

    def add(self, samples: Array, borders: list[int]) -> None:
        """Count one sound [channels, N] whose chunks meet before each sample of `borders`."""
        ratio = jump_ratios(samples)
        pair = np.maximum(ratio[:-1], ratio[1:])
        inside = np.ones(len(pair), bool)
        for border in borders:
            # Second differences around the border's two samples stand at border - 2 and border - 1.
            if 2 <= border < len(pair):
                self.at_borders.append(float(pair[border - 2]))
                inside[border - 3 : border] = False
        logs = np.log10(np.clip(pair[inside], 1e-4, 0.999e4))
        self.counts += np.histogram(logs, JUMP_EDGES)[0]

    def merge(self, other: Jumps) -> None:
        """Take another's counts in."""
        self.counts += other.counts
        self.at_borders += other.at_borders

    def ranks(self) -> DoubleArray:
        """For every border, the share 0..1 of other samples whose jump is smaller."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        place = np.searchsorted(JUMP_EDGES, np.log10(np.clip(self.at_borders, 1e-4, 0.999e4)))
        return np.asarray(below[np.minimum(place, len(below) - 1)] / (below[-1] + 1))

    def percentile(self) -> float:
        """100 x the chance that as many ordinary samples show a smaller largest jump than the borders do.

        Borders that are no special places give any number from 0 to 100 alike; above 99.9 there is a click. The plain
        percentile of the largest of hundreds of borders is above 99.9 by chance alone. NaN without borders.
        """
        return float(100.0 * self.ranks().max() ** len(self.at_borders)) if self.at_borders else math.nan

    def largest_percentile(self) -> float:
        """The percentile of the largest jump at a border among all other samples' jumps."""
        return float(100.0 * self.ranks().max()) if self.at_borders else math.nan

    def above(self, percentile: float = 99.9) -> int:
        """Borders whose jump is above that percentile; a share of 1 - percentile / 100 of them is chance."""
        return int((self.ranks() > percentile / 100.0).sum()) if self.at_borders else 0


@dataclass(frozen=True, slots=True)
class Profile:
    """The mean profile [3 * overlap + 1] of several sounds, its standard error, and the overlap's length in frames."""

    mean: DoubleArray
    error: DoubleArray
    overlap: int

    @classmethod
    def of_sounds(cls, sounds: list[DoubleArray], overlap: int) -> Profile:
        """From the rows of each sound; the standard error counts sounds, not seams, as independent."""
        means = np.stack([np.nanmean(rows, axis=0) for rows in sounds])
        spread = means.std(0, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.full(means.shape[1], np.nan)
        return cls(means.mean(0), spread, overlap)

    @classmethod
    def of_classes(cls, classes: list[Profile]) -> Profile:
        """The mean over classes, each counting the same."""
        error = np.sqrt((np.stack([p.error for p in classes]) ** 2).sum(0)) / len(classes)
        return cls(np.stack([p.mean for p in classes]).mean(0), error, classes[0].overlap)

    @property
    def worst(self) -> float:
        """The largest change at any border."""
        return float(self.mean.max())

    @property
    def worst_place(self) -> int:
        """Frames from the view's start to the worst border; negative before it."""
        return int(self.mean.argmax()) - self.overlap

    @property
    def worst_error(self) -> float:
        """Standard error at the worst border."""
        return float(self.error[self.mean.argmax()])

    @property
    def worst_by_chance(self) -> float:
        """What the worst of so many borders would show on average if all were seamless and differed by chance only."""
        draws = np.random.default_rng(0).normal(size=(2000, len(self.mean))).max(1).mean()
        return float(1.0 + draws * np.mean(self.error))

    @property
    def overlap_ratio(self) -> float:
        """Mean change over the overlap's borders, its two ends included."""
        return float(self.mean[self.overlap : 2 * self.overlap + 1].mean())

    @property
    def edges(self) -> float:
        """Mean change at the overlap's two ends."""
        return float(self.mean[[self.overlap, 2 * self.overlap]].mean())
