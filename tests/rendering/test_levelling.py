"""The way from a model's samples to a file's: on target, below the ceiling, and the same however samples come."""

from __future__ import annotations

from itertools import cycle, repeat

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_stream.rendering import leveller, limiter
from safa_stream.rendering.leveller import Levelling
from safa_stream.rendering.meter import Meter, measure, measure_loop
from safa_stream.types import FloatArray

RATE = 8000


def noise(seconds: float, channels: int = 2, rate: int = RATE, seed: int = 0) -> FloatArray:
    return (0.3 * np.random.default_rng(seed).standard_normal((channels, round(seconds * rate)))).astype(np.float32)


def crackle(seconds: float, rate: int = RATE) -> FloatArray:
    """Quiet noise with sparse impulses; peaks lie 27 dB above the loudness, as in recordings of a fire."""
    samples, rng = 0.05 * noise(seconds, rate=rate), np.random.default_rng(1)
    decay = np.exp(-np.arange(rate // 100) / (rate / 1000))
    for start in rng.integers(0, samples.shape[1] - len(decay), round(4 * seconds)):
        samples[:, start : start + len(decay)] += (0.15 * decay * rng.standard_normal((2, len(decay)))).astype(
            np.float32
        )
    return samples


def levelled(levelling: Levelling, samples: FloatArray, sizes: list[int] | None = None) -> tuple[FloatArray, Meter]:
    state, parts, place = leveller.begin(levelling), [], 0
    for size in cycle(sizes) if sizes else repeat(RATE):
        if place >= samples.shape[1]:
            break
        state, part = leveller.push(levelling, state, samples[:, place : place + size])
        parts.append(part)
        place += size
    state, part = leveller.finish(levelling, state)
    return np.concatenate([*parts, part], axis=1), state.meter


def gains(before: FloatArray, after: FloatArray) -> FloatArray:
    """Gain in dB of every two seconds."""
    powers = [(side[:, : side.shape[1] // (2 * RATE) * 2 * RATE].reshape(2, -1, 2 * RATE) ** 2).mean((0, 2))
              for side in (before, after)]  # fmt: skip
    return np.asarray(10 * np.log10(powers[1] / powers[0]))


class TestLaws:
    @settings(max_examples=15, deadline=None)
    @given(sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=5), length=st.integers(1, 90_000))
    def test_chunked_equals_whole(self, sizes: list[int], length: int) -> None:
        samples = crackle(12)[:, :length]
        levelling = leveller.levelling(RATE, 2, look_ahead=3.0)
        whole, meter = levelled(levelling, samples, [length])
        chunked, meter_chunked = levelled(levelling, samples, sizes)
        assert np.array_equal(whole, chunked)
        assert whole.shape == samples.shape
        assert meter.loudness == meter_chunked.loudness

    def test_what_comes_later_than_the_look_ahead_changes_nothing_before(self) -> None:
        samples = noise(30)
        other = samples.copy()
        other[:, 20 * RATE :] *= 5
        levelling = leveller.levelling(RATE, 2, look_ahead=5.0)
        (first, _), (second, _) = levelled(levelling, samples), levelled(levelling, other)
        assert np.array_equal(first[:, : 14 * RATE], second[:, : 14 * RATE])

    def test_memory_does_not_grow(self) -> None:
        levelling = leveller.levelling(RATE, 2, look_ahead=2.0)
        state = leveller.begin(levelling)
        for seed in range(20):
            state, _ = leveller.push(levelling, state, noise(1, seed=seed))
        assert len(state.waiting) <= levelling.look_ahead
        assert len(state.energies) <= 2 * levelling.look_ahead + 2


class TestLoudness:
    @pytest.mark.parametrize("target", [-30.0, -23.0, -16.0])
    @pytest.mark.parametrize("level", [0.01, 0.1, 3.0])
    def test_a_short_file_gets_one_gain_and_its_target(self, target: float, level: float) -> None:
        samples = noise(10) * np.float32(level)
        out, meter = levelled(leveller.levelling(RATE, 2, target), samples)
        assert meter.loudness == pytest.approx(target, abs=0.1)
        assert np.ptp(gains(samples, out)) < 0.05

    def test_a_steady_long_file_gets_a_steady_gain(self) -> None:
        samples = noise(100)
        out, meter = levelled(leveller.levelling(RATE, 2, look_ahead=20), samples)
        assert measure(out, RATE).loudness == pytest.approx(-23, abs=0.1)
        assert np.ptp(gains(samples, out)) < 0.2

    @pytest.mark.parametrize("jump", [-12.0, 12.0])
    def test_a_scene_that_changes_its_level_lands_on_target(self, jump: float) -> None:
        samples = noise(300)
        samples[:, 100 * RATE :] *= np.float32(10 ** (jump / 20))
        out, meter = levelled(leveller.levelling(RATE, 2, look_ahead=45), samples)
        assert meter.loudness == pytest.approx(-23, abs=0.5)
        steps = np.abs(np.diff(gains(samples, out)))
        assert steps.max() <= 2 * leveller.SLEW + 0.05

    def test_rare_events_land_on_target(self) -> None:
        samples = 0.03 * noise(240)
        for start in range(20, 240, 60):
            samples[:, start * RATE : (start + 5) * RATE] *= 30
        _, meter = levelled(leveller.levelling(RATE, 2), samples)
        assert meter.loudness == pytest.approx(-23, abs=0.5)

    def test_what_the_limiter_takes_is_made_good(self) -> None:
        samples = crackle(30)
        before = measure(samples, RATE)
        assert before.true_peak - before.loudness > 24
        _, meter = levelled(leveller.levelling(RATE, 2), samples)
        assert meter.loudness == pytest.approx(-23, abs=0.5)

    def test_off_leaves_the_samples_alone(self) -> None:
        samples = 0.5 * noise(5)
        out, _ = levelled(leveller.levelling(RATE, 2, None), samples)
        assert np.array_equal(out, samples)

    def test_silence_stays_silence(self) -> None:
        out, meter = levelled(leveller.levelling(RATE, 2, look_ahead=2), np.zeros((2, 5 * RATE), np.float32))
        assert not out.any()
        assert meter.loudness == -np.inf

    def test_a_loop_gets_one_gain_and_no_seam(self) -> None:
        samples = noise(4)
        out, meter = leveller.level_loop(leveller.levelling(RATE, 2), samples)
        assert meter.loudness == pytest.approx(-23, abs=0.1)
        assert np.allclose(out, samples * (out[0, 0] / samples[0, 0]), rtol=1e-5)


class TestLimiter:
    @pytest.mark.parametrize("loudness", [-23.0, -10.0, -5.0])
    def test_true_peaks_stay_below_the_ceiling(self, loudness: float) -> None:
        out, _ = levelled(leveller.levelling(RATE, 2, loudness), crackle(20))
        assert measure(out, RATE).true_peak <= -1.0

    @pytest.mark.parametrize("quality", ["HQ", "VHQ"])
    def test_other_meters_find_no_higher_peaks(self, quality: str) -> None:
        out, _ = levelled(leveller.levelling(48_000, 2, -5.0, look_ahead=2), noise(6, rate=48_000))
        between = np.abs(soxr.resample(out.T, 48_000, 192_000, quality=quality)).max()
        assert 20 * np.log10(between) <= -1.0

    def test_it_leaves_what_is_below_alone(self) -> None:
        samples = noise(2) * np.float32(0.5)
        samples = np.clip(samples, -0.4, 0.4)
        plan = limiter.limiter(-1.0, RATE, 800)
        assert np.array_equal(limiter.limit(plan, samples), samples)

    def test_the_gain_never_jumps(self) -> None:
        samples = np.full((1, RATE), 0.1, np.float32)
        samples[:, RATE // 2] = 4.0
        out = limiter.limit(limiter.limiter(-1.0, RATE, 800), samples)
        gain = out[0] / samples[0]
        assert gain.min() < 0.25
        assert np.abs(np.diff(gain)).max() < 0.04
        assert np.all(gain[: RATE // 2 - 200] == 1) and np.all(gain[RATE // 2 + 200 :] == 1)

    def test_a_loop_is_limited_across_its_seam(self) -> None:
        samples = np.full((2, 5000), 0.05, np.float32)
        samples[:, 0] = 2.0
        plan = limiter.limiter(-1.0, RATE, 800)
        out = limiter.limit(plan, samples, circular=True)
        turned = limiter.limit(plan, np.roll(samples, 2500, axis=1), circular=True)
        assert np.allclose(np.roll(out, 2500, axis=1), turned, atol=1e-6)
        weighting = leveller.levelling(RATE, 2).weighting
        assert measure_loop(weighting, out).true_peak <= -0.9
