from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa_stream.errors import UsageError
from safa_stream.noise import noise

LONG = noise(7, "view", 0, 600, 3, 5)


@given(st.integers(0, 599), st.integers(0, 600))
def test_windows_agree_whichever_way_they_are_drawn(first: int, count: int) -> None:
    count = min(count, 600 - first)
    assert np.array_equal(noise(7, "view", first, count, 3, 5), LONG[:, first : first + count])


def test_it_is_gaussian_and_uncorrelated() -> None:
    drawn = noise(1, "view", 0, 4000, 4, 8).astype(np.float64)
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - 1) < 0.01
    assert abs((drawn**4).mean() - 3) < 0.1
    rows = drawn.transpose(1, 0, 2).reshape(4000, -1)
    between = rows.T @ rows / 4000 - np.eye(32)
    assert np.abs(between).max() < 0.1
    assert abs((rows[1:] * rows[:-1]).mean()) < 0.01


def test_seeds_and_purposes_are_different_sequences() -> None:
    others = [noise(8, "view", 0, 600, 3, 5), noise(7, "reference", 0, 600, 3, 5), noise(-7, "view", 0, 600, 3, 5)]
    for other in others:
        assert abs(np.corrcoef(LONG.ravel(), other.ravel())[0, 1]) < 0.05


def test_frames_of_the_far_future_can_be_drawn() -> None:
    # A century of 25 frames a second.
    far = 25 * 3600 * 24 * 365 * 100
    assert np.array_equal(noise(7, "view", far, 9, 3, 5)[:, 4:], noise(7, "view", far + 4, 5, 3, 5))


def test_frames_before_the_first_are_refused() -> None:
    with pytest.raises(UsageError, match="from 0"):
        noise(0, "view", -1, 4, 1, 1)
