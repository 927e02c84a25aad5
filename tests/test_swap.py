from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa_stream.errors import UsageError
from safa_stream.operators import right_share, self_loop_mask
from safa_stream.swap import DEFAULT_SCHEDULE, KINDS, SwapSchedule

kinds = st.sampled_from(sorted(KINDS))


def masks(schedule: SwapSchedule, steps: int = 10, overlap: int = 8) -> np.ndarray:
    return np.stack([schedule.mask(step, steps, overlap) for step in range(steps)])


@given(kinds, st.floats(0, 1), st.integers(1, 4), st.integers(1, 60), st.integers(0, 50))
def test_every_schedule_is_a_mask_at_every_step(
    kind: str, share: float, interval: int, steps: int, overlap: int
) -> None:
    schedule = SwapSchedule(kind, share, interval)
    for step in range(steps):
        mask = schedule.mask(step, steps, overlap)
        assert mask.shape == (overlap,) and mask.dtype == bool
        assert np.array_equal(schedule.weights(step, steps, overlap), mask)


def test_alternate_is_the_papers_mask_and_parity_flips_it() -> None:
    paper = self_loop_mask(8, 2)
    assert (masks(SwapSchedule("alternate", interval=2)) == paper).all()
    flipped = masks(SwapSchedule("parity", interval=2))
    assert (flipped[::2] == paper).all() and (flipped[1::2] == ~paper).all()


@pytest.mark.parametrize(
    "kind, early, late",
    [
        ("alternate-then-cached", self_loop_mask(8), np.ones(8, bool)),
        ("alternate-then-free", self_loop_mask(8), np.zeros(8, bool)),
        ("cached-then-free", np.ones(8, bool), np.zeros(8, bool)),
    ],
)
def test_two_part_schedules_change_after_their_share(kind: str, early: np.ndarray, late: np.ndarray) -> None:
    made = masks(SwapSchedule(kind, share=0.3))
    assert (made[:3] == early).all() and (made[3:] == late).all()


def test_a_cut_keeps_the_past_on_its_left() -> None:
    assert masks(SwapSchedule("cut"))[0].tolist() == [True] * 4 + [False] * 4


def test_moving_cuts_wait_and_then_cross_the_whole_overlap() -> None:
    for kind, begins, ends in (("cut-left", 8, 0), ("cut-right", 0, 8)):
        made = masks(SwapSchedule(kind, share=0.5))
        counts = made.sum(1)
        assert (counts[:5] == begins).all() and counts[-1] == ends
        assert (np.abs(np.diff(counts)) <= 2).all()
        assert all(np.array_equal(row, np.arange(8) < row.sum()) for row in made)


def test_dither_is_dense_on_the_left_and_thin_on_the_right() -> None:
    for kind in ("dither", "dither-steps"):
        density = masks(SwapSchedule(kind), steps=50, overlap=64).mean(0)
        parts = density.reshape(4, 16).mean(1)
        assert (np.diff(parts) < 0).all() and parts[0] > 0.75 and parts[3] < 0.25


def test_the_last_steps_can_be_averaged() -> None:
    schedule = SwapSchedule("cached", averaged=0.2)
    made = np.stack([schedule.weights(step, 10, 8) for step in range(10)])
    assert (made[:8] == 1).all() and np.allclose(made[8:], right_share(8))


def test_the_default_schedule_is_one_of_them() -> None:
    assert DEFAULT_SCHEDULE.kind in KINDS


@pytest.mark.parametrize("wrong", [{"kind": "swirl"}, {"share": 1.1}, {"averaged": float("nan")}, {"interval": 0}])
def test_schedules_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SwapSchedule(**({"kind": "cached"} | wrong))
