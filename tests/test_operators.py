from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa_stream import operators
from safa_stream.errors import UsageError
from tests.toy import World

RIGHT = np.random.default_rng(0).standard_normal((2, 3, 12, 5)).astype(np.float32)
LEFT = np.random.default_rng(1).standard_normal((2, 3, 12, 5)).astype(np.float32)


@given(st.integers(0, 80), st.integers(1, 90))
def test_the_mask_is_the_papers_formula(overlap: int, interval: int) -> None:
    m = np.arange(1, overlap + 1)
    formula = 0.5 * (1 - (-1.0) ** np.floor((m - 1) / interval))
    assert np.array_equal(operators.self_loop_mask(overlap, interval), formula == 1)


@pytest.mark.parametrize("interval", [1, 2, 5, 12])
def test_every_swapped_frame_equals_exactly_one_parent(world: World, interval: int) -> None:
    swapped = operators.self_loop_swap(world.from_numpy(RIGHT), world.from_numpy(LEFT), interval)
    merged = world.to_numpy(swapped)
    mask = operators.self_loop_mask(12, interval)
    assert np.array_equal(merged[..., mask, :], RIGHT[..., mask, :])
    assert np.array_equal(merged[..., ~mask, :], LEFT[..., ~mask, :])


def test_the_first_frame_is_the_right_views() -> None:
    assert list(operators.self_loop_mask(4)) == [False, True, False, True]


def test_swap_is_the_average_and_half_the_disagreement(world: World) -> None:
    right, left = world.from_numpy(RIGHT), world.from_numpy(LEFT)
    swapped = world.to_numpy(operators.self_loop_swap(right, left))
    averaged = world.to_numpy(operators.average(right, left))
    assert np.allclose(np.abs(swapped - averaged), np.abs(RIGHT - LEFT) / 2, atol=1e-6)


def test_reference_swap_takes_every_second_frame_or_row(world: World) -> None:
    mid, reference = world.from_numpy(LEFT), world.from_numpy(RIGHT)
    frames = world.to_numpy(operators.reference_swap(mid, reference))
    assert np.array_equal(frames[..., 1::2, :], RIGHT[..., 1::2, :])
    assert np.array_equal(frames[..., ::2, :], LEFT[..., ::2, :])
    rows = world.to_numpy(operators.reference_swap(mid, reference, along="rows"))
    assert np.array_equal(rows[..., 1::2], RIGHT[..., 1::2])
    assert np.array_equal(rows[..., ::2], LEFT[..., ::2])


def test_average_and_triangular_are_their_formulas(world: World) -> None:
    right, left = world.from_numpy(RIGHT), world.from_numpy(LEFT)
    assert np.allclose(world.to_numpy(operators.average(right, left)), (RIGHT + LEFT) / 2, atol=1e-6)
    ramp = (np.arange(12) + 1)[:, None] / 13
    expected = RIGHT * (1 - ramp) + LEFT * ramp
    assert np.allclose(world.to_numpy(operators.triangular(right, left)), expected, atol=1e-6)


@given(st.integers(1, 40), st.data())
def test_up_to_half_a_view_a_past_share_is_the_pairs_weight(view: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, view // 2))
    earlier = data.draw(st.integers(1, 9))
    assert np.allclose(operators.past_share(view, overlap, earlier, "average"), 0.5)
    triangular = operators.past_share(view, overlap, earlier, "triangular")
    assert np.allclose(triangular, operators.right_share(overlap), atol=1e-6)


def test_running_averages_count_every_view_that_covers_a_frame() -> None:
    # Overlap 0.8: five views lie on each frame; the sixth view's first hop has been covered by four before it.
    share = operators.past_share(10, 8, 7, "average")
    assert np.allclose(share, [4 / 5, 4 / 5, 3 / 4, 3 / 4, 2 / 3, 2 / 3, 1 / 2, 1 / 2])
    assert np.allclose(operators.past_share(10, 8, 1, "average"), 1 / 2)


def test_an_interval_below_one_and_unknown_windows_are_refused() -> None:
    with pytest.raises(UsageError, match="interval"):
        operators.self_loop_mask(4, 0)
    with pytest.raises(UsageError, match="hann"):
        operators.view_window(4, "hann")
