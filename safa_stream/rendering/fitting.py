"""Views on a canvas of a wanted width: spread evenly, as many as come near the layout's hop, so nothing is cut off."""

from __future__ import annotations

from dataclasses import dataclass

from safa_stream.layout import Span, ViewLayout


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where the views lie on `width` frames; on a circle the last one reaches over the end into the first."""

    spans: tuple[Span, ...]
    width: int

    @property
    def hop(self) -> float:
        """Frames from one view to the next, on average; of a single view its length."""
        last = self.spans[-1]
        if last.stop > self.width:
            return self.width / len(self.spans)
        return last.start / (len(self.spans) - 1) if last.start else float(last.length)


def fit_aligned(layout: ViewLayout, frames: int, circular: bool, unit: int) -> Canvas:
    """`fit` of averaged views whose starts, and the canvas, are multiples of `unit`, as the view is."""
    coarse = ViewLayout(layout.view // unit, min(round(layout.overlap / unit), layout.view // unit - 1))
    made = fit(coarse, max(1, round(frames / unit)), circular, swaps=False)
    return Canvas(tuple(Span(span.start * unit, layout.view) for span in made.spans), made.width * unit)


def fit(layout: ViewLayout, frames: int, circular: bool, swaps: bool) -> Canvas:
    """The canvas nearest to `frames` whose views' hops differ by at most one frame and come near the layout's.

    Overlaps are at least half of the layout's; where views swap they are at most half a view, so that two at most lie
    on each other. A line holds at least one view, a circle two.
    """
    shortest = -(-layout.view // 2) if swaps else max(1, -(-layout.hop // 2))
    longest = layout.view - -(-layout.overlap // 2)
    # On a line the first view stands by itself and every other adds a hop; on a circle all add one.
    first, least = (0, 2) if circular else (layout.view, 0)
    near = max(least, round((frames - first) / layout.hop))
    best: tuple[int, float, int] | None = None
    chosen = (near, frames)
    for hops in range(max(least, near - 2), near + 3):
        width = min(max(frames, first + hops * shortest), first + hops * longest)
        distance = (abs(width - frames), abs((width - first) / hops - layout.hop) if hops else 0.0, hops)
        if best is None or distance < best:
            best, chosen = distance, (hops, width)
    hops, width = chosen
    starts = [index * (width - first) // max(hops, 1) for index in range(hops if circular else hops + 1)]
    return Canvas(tuple(Span(start, layout.view) for start in starts), width)
