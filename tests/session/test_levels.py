"""Levels of a live session: layers brought to their loudness while they are made, and the limiter at the way out."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_stream.errors import SnapshotError, UsageError
from safa_stream.loudness import integrated
from safa_stream.session import safety
from safa_stream.session.levels import (
    ENTRY_SECONDS,
    LARGEST_GAIN,
    SLEW,
    TARGET,
    LevelState,
    begin_level,
    level,
    leveller,
)
from safa_stream.session.safety import LimiterState
from safa_stream.types import FloatArray

RATE = 48_000
#: Levelling is tested at a low rate: faster, and loudness is the same at any.
LOW = 16_000
LEVELLER = leveller(LOW)
LIMITER = safety.limiter(RATE)


def noise(samples: int, decibels: float, seed: int = 0) -> FloatArray:
    return (10 ** (decibels / 20) * np.random.default_rng(seed).standard_normal((2, samples))).astype(np.float32)


def levelled(pieces: list[FloatArray], saves: bool = False) -> tuple[LevelState, list[FloatArray]]:
    state, parts = begin_level(LEVELLER), []
    for piece in pieces:
        if saves:
            state = LevelState.from_tensors(state.to_tensors("layer/"), "layer/")
        state, part = level(LEVELLER, state, piece)
        parts.append(part)
    return state, parts


def gains(pieces: list[FloatArray], parts: list[FloatArray]) -> FloatArray:
    """The gain of every sample in dB."""
    before, after = np.concatenate(pieces, axis=1)[0], np.concatenate(parts, axis=1)[0]
    return np.asarray(20 * np.log10(after[before != 0] / before[before != 0]))


class TestLeveller:
    @pytest.mark.parametrize("decibels", [-48.0, -30.0, -3.0])
    def test_the_first_piece_has_the_wanted_loudness(self, decibels: float) -> None:
        _, (part,) = levelled([noise(5 * LOW, decibels)])
        assert integrated(part, LOW) == pytest.approx(TARGET, abs=0.2)

    def test_another_target(self) -> None:
        quiet = leveller(LOW, -30.0)
        _, part = level(quiet, begin_level(quiet), noise(5 * LOW, -12))
        assert integrated(part, LOW) == pytest.approx(-30, abs=0.2)
        for target in (1.0, -71.0, float("nan")):
            with pytest.raises(UsageError, match="from -70 to 0 LUFS"):
                leveller(LOW, target)

    def test_hardly_anything_is_not_raised_without_end(self) -> None:
        pieces = [noise(5 * LOW, -64)]
        _, parts = levelled(pieces)
        assert np.allclose(gains(pieces, parts), LARGEST_GAIN, atol=1e-3)

    def test_silence_is_left_alone_and_leaves_the_gain(self) -> None:
        silence = np.zeros((2, 5 * LOW), np.float32)
        state, parts = levelled([silence])
        assert not parts[0].any() and not state.started
        loud, _ = levelled([noise(5 * LOW, -40)])
        after, part = level(LEVELLER, loud, silence)
        assert after.gain == loud.gain and not part.any()

    def test_sound_after_silence_comes_up_at_once_but_not_in_a_jump(self) -> None:
        pieces = [np.zeros((2, 2 * LOW), np.float32), noise(5 * LOW, -40)]
        _, parts = levelled(pieces)
        moved = gains(pieces, parts)
        entry = round(ENTRY_SECONDS * LOW)
        assert moved[0] == pytest.approx(0, abs=1e-3)
        assert np.abs(np.diff(10 ** (moved / 20))).max() < 1.1 * 10 ** (moved[-1] / 20) / entry
        assert integrated(parts[1], LOW) == pytest.approx(TARGET, abs=0.3)

    def test_the_gain_follows_slowly_and_without_a_jump(self) -> None:
        levels = [-20.0] * 4 + [-32.0] * 14
        pieces = [noise(5 * LOW, decibels, seed) for seed, decibels in enumerate(levels)]
        _, parts = levelled(pieces)
        moved = gains(pieces, parts)
        assert np.abs(moved[LOW:] - moved[:-LOW]).max() < SLEW * 1.2
        assert np.abs(np.diff(moved)).max() < 1e-3
        assert np.abs(moved[: 20 * LOW] - moved[0]).max() < 0.2
        assert integrated(parts[-1], LOW) == pytest.approx(TARGET, abs=0.3)

    def test_pieces_need_not_be_whole_steps_and_states_can_be_kept(self) -> None:
        cuts = [0, 30_000, 30_001, 31_017, 81_000, 120_000]
        sound = noise(120_000, -35)
        pieces = [sound[:, start:stop] for start, stop in zip(cuts, cuts[1:], strict=False)]
        state, parts = levelled(pieces)
        again, same = levelled(pieces, saves=True)
        assert all(np.array_equal(a, b) for a, b in zip(parts, same, strict=True))
        assert state.gain == again.gain and state.taken == again.taken == 120_000
        assert len(state.energies) == 120_000 // (LOW // 10)
        assert np.abs(np.diff(gains(pieces, parts))).max() < 1e-3

    def test_what_is_not_a_number_does_not_spoil_the_measure(self) -> None:
        sound = noise(5 * LOW, -30)
        broken = sound.copy()
        broken[0, 1000:1010] = np.nan
        state, _ = levelled([broken, sound])
        assert state.gain == pytest.approx(levelled([sound, sound])[0].gain, rel=1e-2)

    def test_damaged_states_are_refused(self) -> None:
        tensors = begin_level(LEVELLER).to_tensors("a/")
        with pytest.raises(SnapshotError, match="damaged"):
            LevelState.from_tensors(tensors | {"a/level": np.zeros(2)}, "a/")
        del tensors["a/energies"]
        with pytest.raises(SnapshotError, match="lacks its tensor a/energies"):
            LevelState.from_tensors(tensors, "a/")


def true_peak(samples: FloatArray) -> float:
    """dBTP, four times oversampled by a resampler that shares nothing with ours."""
    finer = soxr.resample(samples.T.astype(np.float64), RATE, 4 * RATE, quality="VHQ")
    return float(20 * np.log10(np.abs(finer).max()))


def limited(samples: FloatArray, block: int = 960, limiter: safety.Limiter = LIMITER) -> FloatArray:
    """With silence at the end, so that all of it comes out."""
    state, parts = safety.begin(limiter, len(samples)), []
    padded = np.pad(samples, ((0, 0), (0, limiter.delay)))
    for start in range(0, padded.shape[1], block):
        state, part = safety.limit(limiter, state, padded[:, start : start + block])
        parts.append(part)
    return np.concatenate(parts, axis=1)


def impulses(samples: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    sound = noise(samples, -40, seed)
    sound[rng.integers(0, 2, 40), rng.integers(0, samples, 40)] = rng.uniform(-8, 8, 40)
    return sound


def tone(frequency: float, amplitude: float, phase: float = 0.0) -> FloatArray:
    wave = amplitude * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE + phase)
    return np.stack([wave, 0.5 * wave]).astype(np.float32)


LOUD = {
    "noise": noise(RATE, 0),
    "very loud noise": noise(RATE, 20, 1),
    "bursts": noise(RATE, 6, 2) * (np.arange(RATE) % 6000 < 700).astype(np.float32),
    "impulses": impulses(RATE, 3),
    "between samples": tone(12_000, 1.2, np.pi / 4),
    "high tone": tone(17_000, 2.0),
    "low tone": tone(50, 4.0),
    "steps": np.sign(tone(97, 3.0)) * np.float32(1.5),
}


class TestLimiter:
    @pytest.mark.parametrize("name", LOUD)
    def test_nothing_is_above_the_ceiling(self, name: str) -> None:
        out = limited(LOUD[name])
        assert true_peak(LOUD[name]) > 0
        assert true_peak(out) <= -0.9
        assert np.abs(out).max() <= 10 ** (-1 / 20) * (1 + 1e-6)

    @pytest.mark.parametrize("name", ["very loud noise", "low tone", "high tone"])
    def test_no_more_is_taken_than_has_to_be(self, name: str) -> None:
        assert true_peak(limited(LOUD[name])) > -1.6

    def test_what_is_low_enough_passes_bit_for_bit(self) -> None:
        sound = noise(10_000, -14)
        sound *= np.float32(0.8 / np.abs(sound).max())
        out = limited(sound)
        assert true_peak(sound) < -1
        assert np.array_equal(out[:, safety.DELAY :], sound)
        assert not out[:, : safety.DELAY].any()

    def test_it_lets_go_within_a_tenth_of_a_second_and_then_entirely(self) -> None:
        sound = np.full((2, 2 * RATE), 0.25, np.float32)
        sound[:, 4800:4900] = 3.0
        out = limited(sound)[0, safety.DELAY :]
        gain = out / sound[0]
        assert np.array_equal(out[: 4800 - 240], sound[0, : 4800 - 240])
        lowest = gain.min()
        assert lowest < 0.3
        assert gain[4900 + 4800] == pytest.approx(1 - (1 - lowest) * np.exp(-1), abs=0.05)
        assert np.array_equal(out[-RATE // 2 :], sound[0, -RATE // 2 :])
        assert np.abs(np.diff(gain[:4800])).max() < 1 / 150

    def test_both_channels_have_one_gain(self) -> None:
        sound = tone(440, 3.0)
        out = limited(sound)[:, safety.DELAY :]
        assert np.allclose(out[1], 0.5 * out[0], atol=1e-6)

    @pytest.mark.parametrize("delay", [240, 480, 960])
    def test_other_delays_and_rates(self, delay: int) -> None:
        limiter = safety.limiter(44_100, -3.0, delay)
        sound = LOUD["noise"]
        out = limited(sound, limiter=limiter)
        assert out.shape[1] == sound.shape[1] + delay
        assert true_peak(out) <= -2.9
        quiet = 0.1 * sound
        assert np.array_equal(limited(quiet, limiter=limiter)[:, delay:], quiet)

    def test_delays_that_cannot_be_are_refused(self) -> None:
        for delay in (0, 230, 245, -240):
            with pytest.raises(UsageError, match="a multiple of 10"):
                safety.limiter(RATE, delay=delay)

    def test_what_is_not_a_number_is_silence(self) -> None:
        sound = noise(4000, -6)
        broken = sound.copy()
        broken[1, 700] = np.nan
        broken[0, 900] = np.inf
        sound[1, 700] = sound[0, 900] = 0
        assert np.array_equal(limited(broken), limited(sound))

    @settings(deadline=None, max_examples=60)
    @given(st.sets(st.integers(1, 4999), max_size=8), st.sampled_from([-30.0, -12.0, 0.0, 12.0]), st.integers(0, 9))
    def test_blocks_change_nothing(self, cuts: set[int], decibels: float, seed: int) -> None:
        sound = noise(5000, decibels, seed)
        sound[:, 2000:2010] *= 10
        state, whole = safety.limit(LIMITER, safety.begin(LIMITER), sound)
        ends, parts, cut_state = sorted(cuts | {5000}), [], safety.begin(LIMITER)
        for start, end in zip([0, *ends], ends, strict=False):
            cut_state = LimiterState.from_tensors(cut_state.to_tensors("out/"), "out/")
            cut_state, part = safety.limit(LIMITER, cut_state, sound[:, start:end])
            parts.append(part)
        assert np.array_equal(np.concatenate(parts, axis=1), whole)
        assert np.array_equal(cut_state.floors, state.floors)
        assert np.array_equal(cut_state.samples, state.samples)
        assert cut_state.position == state.position == 5000

    def test_single_samples_change_nothing(self) -> None:
        sound = impulses(1500, 7)
        assert np.array_equal(limited(sound, block=1), limited(sound, block=1500))

    def test_damaged_states_are_refused(self) -> None:
        tensors = safety.begin(LIMITER).to_tensors("a/")
        with pytest.raises(SnapshotError, match="damaged"):
            LimiterState.from_tensors(tensors | {"a/floors": np.zeros(2)}, "a/")
        del tensors["a/samples"]
        with pytest.raises(SnapshotError, match="lacks its tensor a/samples"):
            LimiterState.from_tensors(tensors, "a/")
