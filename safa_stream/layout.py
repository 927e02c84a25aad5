"""View layout: how views of a fixed length lie on a long latent, in whole frames, in a line or in a circle.

    view 0   [ Left |      Mid      | Right ]
    view 1                          [ Left  |      Mid      | Right ]
             <------- hop --------->

Left and Right are the overlaps with the neighbours; hop = view - overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from safa_stream.errors import LayoutError


@dataclass(frozen=True, slots=True)
class Span:
    """Where a view lies: its frames are `start` .. `start + length - 1`, on a circle modulo the canvas width."""

    start: int
    length: int

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + self.length

    def pieces(self, width: int) -> Iterator[tuple[slice, slice]]:
        """Pairs (slice of the view, slice of a canvas of `width` frames) that together place the whole view."""
        done = 0
        while done < self.length:
            at = (self.start + done) % width
            count = min(self.length - done, width - at)
            yield slice(done, done + count), slice(at, at + count)
            done += count


@dataclass(frozen=True, slots=True)
class ViewLayout:
    """Views of `view` frames that share `overlap` frames with the next; both are multiples of `alignment`.

    Raises LayoutError where a number is not whole, not in 0 <= overlap < view, or not aligned.
    """

    view: int
    overlap: int
    alignment: int = 1

    def __post_init__(self) -> None:
        for name, value in (("view", self.view), ("overlap", self.overlap), ("alignment", self.alignment)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise LayoutError(f"{name} must be a whole number of frames, not {value!r}")
        if self.view < 1 or self.alignment < 1:
            raise LayoutError(f"view and alignment must be at least 1 frame, not {self.view} and {self.alignment}")
        if not 0 <= self.overlap < self.view:
            raise LayoutError(
                f"an overlap of {self.overlap} frames does not fit a view of {self.view}: use 0 up to less"
            )
        for name, value in (("view", self.view), ("overlap", self.overlap)):
            if value % self.alignment:
                raise LayoutError(f"{name} of {value} frames is not a multiple of the model's {self.alignment} frames")

    @classmethod
    def from_ratio(cls, view: int, ratio: float, alignment: int = 1) -> ViewLayout:
        """The layout whose overlap is nearest to `ratio` (0 up to below 1) of the view; above 0 it is never none.

        Raises LayoutError where the ratio is not in that range or the view has no room for it.
        """
        if not (isinstance(ratio, int | float) and math.isfinite(ratio) and 0 <= ratio < 1):
            raise LayoutError(f"the overlap must be a share of the view from 0 to below 1, not {ratio!r}")
        overlap = round(view * ratio / alignment) * alignment
        # Rounding must neither turn a wanted overlap into none nor push it past half, where swapped views stop tiling.
        if ratio > 0:
            overlap = max(overlap, alignment)
        if ratio <= 0.5:
            overlap = min(overlap, view // 2 // alignment * alignment)
        return cls(view, min(overlap, view - alignment), alignment)

    @property
    def hop(self) -> int:
        """Frames from one view's start to the next one's."""
        return self.view - self.overlap

    @property
    def middle(self) -> int:
        """Frames of a view that no neighbour covers (Mid)."""
        return max(0, self.view - 2 * self.overlap)

    def require_tiling(self, purpose: str = "swapping") -> None:
        """Raise LayoutError unless every frame is covered by at most two views, as the swap needs it."""
        if 2 * self.overlap > self.view:
            raise LayoutError(
                f"{purpose} needs an overlap of at most half a view: {self.overlap} of {self.view} frames is more; "
                "use 0.5 or less, or the method average or triangular"
            )

    def views_for(self, frames: int) -> int:
        """The fewest views in a line that cover `frames` (at least 1)."""
        if frames < 1:
            raise LayoutError(f"a sound needs at least 1 frame, not {frames}")
        return max(1, -(-(frames - self.overlap) // self.hop))

    def linear_width(self, views: int) -> int:
        """Frames that `views` in a line cover."""
        return (views - 1) * self.hop + self.view

    def linear_spans(self, frames: int) -> tuple[Span, ...]:
        """The views in a line that cover `frames`; the last may reach past it."""
        return tuple(Span(index * self.hop, self.view) for index in range(self.views_for(frames)))

    def circular_spans(self, views: int) -> tuple[Span, ...]:
        """`views` on a circle of views * hop frames; the last overlaps the first."""
        if views < 1:
            raise LayoutError(f"a circle needs at least 1 view, not {views}")
        return tuple(Span(index * self.hop, self.view) for index in range(views))

    def loop_spans(self, frames: int, step: int = 1) -> tuple[Span, ...]:
        """Views on a circle of exactly `frames`; their hops differ by at most one `step` and come near `hop`.

        Overlaps are at least half of `overlap` and at most half a view. step: of frames, which the circle, the view and
        the overlap are multiples of, and then all starts are. Raises LayoutError, naming lengths that fit, where no
        number of views does that.
        """
        view, overlap, around = self.view // step, self.overlap // step, frames // step
        shortest, longest = -(-view // 2), view - -(-overlap // 2)
        fewest, most = -(-around // longest), around // shortest
        if frames < 1 or fewest > most:
            below = most * longest * step
            above = (most + 1) * shortest * step
            fits = f"{above} frames fit" if most < 1 else f"{below} or {above} frames fit"
            raise LayoutError(f"a loop of {frames} frames cannot be tiled by views of {self.view}; {fits}")
        views = min(max(round(frames / self.hop), fewest), most)
        return tuple(Span(index * around // views * step, self.view) for index in range(views))
