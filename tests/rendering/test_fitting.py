from __future__ import annotations

import pytest

from safa_stream.layout import ViewLayout
from safa_stream.rendering.fitting import fit

LAYOUT = ViewLayout(64, 13)


def overlaps(layout: ViewLayout, frames: int, circular: bool, swaps: bool) -> list[int]:
    """Of all neighbours; what the canvas must be besides is checked on the way."""
    canvas = fit(layout, frames, circular, swaps)
    starts = [span.start for span in canvas.spans]
    assert starts[0] == 0 and all(span.length == layout.view for span in canvas.spans)
    ends = [*starts[1:], canvas.width] if circular else starts[1:]
    assert circular or canvas.spans[-1].stop == canvas.width
    return [layout.view - (after - before) for before, after in zip(starts, ends, strict=False)]


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize(
    "layout", [LAYOUT, ViewLayout(64, 32), ViewLayout(64, 1), ViewLayout(64, 0), ViewLayout(10, 2)]
)
def test_views_that_swap_lie_two_on_each_other_at_most(layout: ViewLayout, circular: bool) -> None:
    for frames in range(1, 700):
        shared = overlaps(layout, frames, circular, swaps=True)
        assert all(-(-layout.overlap // 2) <= overlap <= layout.view // 2 for overlap in shared), frames


@pytest.mark.parametrize("circular", [False, True])
def test_wide_canvases_are_made_exactly_with_overlaps_near_those_wanted(circular: bool) -> None:
    for frames in range(4 * 64, 1500):
        assert fit(LAYOUT, frames, circular, swaps=True).width == frames
        assert all(7 <= overlap <= 32 for overlap in overlaps(LAYOUT, frames, circular, swaps=True))


def test_a_canvas_that_no_number_of_views_makes_is_the_nearest_one() -> None:
    assert fit(LAYOUT, 10, False, swaps=True).width == 64
    assert fit(LAYOUT, 70, False, swaps=True).width == 64
    assert fit(LAYOUT, 90, False, swaps=True).width == 96
    assert fit(LAYOUT, 10, True, swaps=True).width == 64


def test_averages_may_overlap_as_much_as_one_likes() -> None:
    dense = ViewLayout(64, 56)
    canvas = fit(dense, 400, False, swaps=False)
    assert canvas.width == 400 and [span.start for span in canvas.spans] == list(range(0, 337, 8))
    assert canvas.hop == 8 and fit(dense, 400, True, swaps=False).hop == 8 and fit(LAYOUT, 64, False, True).hop == 64
    around = fit(dense, 400, True, swaps=False)
    assert around.width == 400 and [span.start for span in around.spans] == list(range(0, 400, 8))
