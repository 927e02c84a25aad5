from __future__ import annotations

import numpy as np
import pytest

from safa_stream.session.guard import FIRST_HOPS, Guard, likeness, measure, watch

RATE = 48_000


def hop(seed: int, gain: float = 0.1, seconds: float = 5.0) -> np.ndarray:
    """Noise whose level wanders, [2, N]."""
    rng = np.random.default_rng(seed)
    slow = np.interp(np.linspace(0, 1, round(seconds * RATE)), np.linspace(0, 1, 50), rng.uniform(0.3, 1.0, 50))
    return (gain * slow * rng.standard_normal((2, round(seconds * RATE)))).astype(np.float32)


def settled() -> Guard:
    guard = Guard()
    for seed in range(FIRST_HOPS):
        guard, alarm = watch(guard, hop(seed), RATE)
        assert alarm is None
    return guard


def test_more_of_the_same_is_no_alarm() -> None:
    guard = settled()
    for seed in range(100, 110):
        guard, alarm = watch(guard, hop(seed), RATE)
        assert alarm is None


@pytest.mark.parametrize(
    "sound, measure_name",
    [
        (hop(50, gain=0.01), "loudness"),
        (hop(50, gain=0.9), "loudness"),
        (hop(50) * np.repeat(np.random.default_rng(0).integers(0, 2, 125), RATE // 25), "high_variance"),
        (hop(3), "self_similarity"),
    ],
)
def test_what_leaves_its_band_is_named(sound: np.ndarray, measure_name: str) -> None:
    _, alarm = watch(settled(), sound, RATE)
    assert alarm is not None
    assert not alarm.low <= alarm.value <= alarm.high
    assert alarm.measure == measure_name


def test_a_hop_that_comes_again_is_known_at_any_lag() -> None:
    once = measure(hop(1), RATE).envelopes
    assert likeness(once, np.roll(once, 17, axis=1)) > 0.99
    assert likeness(once, measure(hop(2), RATE).envelopes) < 0.7


def test_silence_is_no_error() -> None:
    guard = settled()
    watch(guard, np.zeros((2, 5 * RATE), np.float32), RATE)
