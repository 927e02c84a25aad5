from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa_stream.errors import LayoutError
from safa_stream.layout import Span, ViewLayout

views = st.integers(1, 60)


@st.composite
def tiling_layouts(draw: st.DrawFn) -> ViewLayout:
    view = draw(st.integers(2, 60))
    return ViewLayout(view, draw(st.integers(0, view // 2)))


def covered(spans: tuple[Span, ...], width: int) -> np.ndarray:
    count = np.zeros(width, int)
    for span in spans:
        for inside, outside in span.pieces(width):
            assert inside.stop - inside.start == outside.stop - outside.start
            count[outside] += 1
    return count


def test_the_demo_geometry_of_the_paper() -> None:
    layout = ViewLayout.from_ratio(200, 0.2)
    assert (layout.view, layout.overlap, layout.hop, layout.middle) == (200, 40, 160, 120)
    assert [span.start for span in layout.circular_spans(3)] == [0, 160, 320]
    assert layout.linear_width(3) == 520


@given(tiling_layouts(), st.integers(1, 12))
def test_a_circle_is_tiled_by_middles_and_overlaps(layout: ViewLayout, views: int) -> None:
    count = covered(layout.circular_spans(views), views * layout.hop)
    assert count.sum() == views * layout.view
    assert (count == 2).sum() == views * layout.overlap
    assert count.min() == 1 or layout.middle == 0


@given(tiling_layouts(), st.integers(1, 500))
def test_a_line_is_covered_by_the_fewest_views(layout: ViewLayout, frames: int) -> None:
    spans = layout.linear_spans(frames)
    assert spans[-1].stop == layout.linear_width(len(spans)) >= frames
    if len(spans) > 1:
        assert layout.linear_width(len(spans) - 1) < frames
    assert covered(spans, spans[-1].stop).min() == 1


@given(tiling_layouts(), st.integers(1, 500))
def test_a_loop_of_any_length_is_tiled_or_refused_with_lengths_that_fit(layout: ViewLayout, frames: int) -> None:
    try:
        spans = layout.loop_spans(frames)
    except LayoutError as error:
        fitting = [int(word) for word in str(error).split("; ")[-1].split() if word.isdigit()]
        assert fitting
        for length in fitting:
            layout.loop_spans(length)
        return
    starts = [span.start for span in spans] + [frames]
    hops = np.diff(starts)
    assert starts[0] == 0 and hops.max() - hops.min() <= 1
    overlaps = layout.view - hops
    assert 2 * overlaps.max() <= layout.view and 2 * overlaps.min() >= layout.overlap
    assert covered(spans, frames).min() >= 1


def test_a_loop_of_whole_hops_is_the_papers_circle() -> None:
    layout = ViewLayout.from_ratio(200, 0.2)
    assert layout.loop_spans(480) == layout.circular_spans(3)


@given(st.integers(8, 400), st.floats(0, 0.99), st.sampled_from([1, 2, 4, 8]))
def test_a_ratio_gives_the_nearest_aligned_overlap(view: int, ratio: float, alignment: int) -> None:
    view = max(2, view // alignment) * alignment
    layout = ViewLayout.from_ratio(view, ratio, alignment)
    assert layout.overlap % alignment == 0
    assert (layout.overlap > 0) == (ratio > 0)
    assert abs(layout.overlap - ratio * view) <= alignment
    if ratio <= 0.5:
        layout.require_tiling()


@pytest.mark.parametrize(
    "view, overlap, alignment", [(10, -1, 1), (10, 10, 1), (0, 0, 1), (10, 3, 2), (9, 2, 2), (10, 2, 0)]
)
def test_impossible_layouts_are_refused(view: int, overlap: int, alignment: int) -> None:
    with pytest.raises(LayoutError):
        ViewLayout(view, overlap, alignment)


def test_frames_must_be_whole() -> None:
    overlap: Any = 2.5
    with pytest.raises(LayoutError, match="whole number"):
        ViewLayout(10, overlap)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 2.0, float("nan"), float("inf")])
def test_impossible_ratios_are_refused(ratio: float) -> None:
    with pytest.raises(LayoutError, match="share of the view"):
        ViewLayout.from_ratio(100, ratio)


def test_more_than_half_a_view_is_for_averaging_only() -> None:
    with pytest.raises(LayoutError, match=r"at most half.*average"):
        ViewLayout.from_ratio(100, 0.8).require_tiling()


@pytest.mark.parametrize("frames, wanted", [(160, [0, 80]), (224, [0, 112]), (304, [0, 96, 200]), (1200, None)])
def test_a_loop_in_steps_starts_its_views_on_them(frames: int, wanted: list[int] | None) -> None:
    starts = [span.start for span in ViewLayout(160, 32, 8).loop_spans(frames, 8)]
    hops = [after - before for before, after in zip(starts, [*starts[1:], frames], strict=True)]
    assert wanted in (None, starts) and all(start % 8 == 0 for start in starts)
    assert max(hops) - min(hops) <= 8 and all(80 <= hop <= 144 for hop in hops)


def test_a_loop_in_steps_that_does_not_fit_names_lengths_in_frames() -> None:
    with pytest.raises(LayoutError, match="152 frames.*; 144 or 160 frames fit"):
        ViewLayout(160, 32, 8).loop_spans(152, 8)
