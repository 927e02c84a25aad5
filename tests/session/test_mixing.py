"""The mixer: what its values mean, that nothing clicks, and that blocks change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_stream.errors import SceneError, SnapshotError, UsageError
from safa_stream.session import mixing
from safa_stream.session.mixing import MixState, Strip
from safa_stream.session.shelves import SEGMENT
from safa_stream.types import DoubleArray, FloatArray

RATE = 48_000
BLOCK = 960


def noise(samples: int, seed: int = 0, decibels: float = -20.0) -> FloatArray:
    return (10 ** (decibels / 20) * np.random.default_rng(seed).standard_normal((2, samples))).astype(np.float32)


def sine(samples: int, frequency: float = 440.0, amplitude: float = 0.5) -> FloatArray:
    tone = amplitude * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)
    return np.stack([tone, tone]).astype(np.float32)


def played(state: MixState, sounds: dict[int, FloatArray], start: int = 0, stop: int | None = None) -> Any:
    """(state, samples) after blocks of BLOCK."""
    parts = []
    stop = next(iter(sounds.values())).shape[1] if stop is None else stop
    for at in range(start, stop, BLOCK):
        piece = {layer: sound[:, at : min(at + BLOCK, stop)] for layer, sound in sounds.items()}
        state, part = mixing.mix(state, piece)
        parts.append(part)
    return state, np.concatenate(parts, axis=1)


def rms(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


class TestStrip:
    @pytest.mark.parametrize(
        ("field", "value", "expected"),
        [
            ("gain", 24.5, "'gain' must be a number from -90 to 24 dB, not 24.5"),
            ("gain", float("nan"), "'gain' must be a number"),
            ("gain", True, "'gain' must be a number"),
            ("pan", -1.01, "'pan' must be a number from -1 to 1, not -1.01"),
            ("low", "3", "'low' must be a number from -24 to 24 dB, not '3'"),
            ("high", float("inf"), "'high' must be"),
            ("duck", -1, "'duck' must be a number from 0 to 40 dB, not -1"),
            ("mute", 1, "'mute' must be true or false, not 1"),
            ("solo", None, "'solo' must be true or false, not None"),
            ("duck_by", 8, "'duck_by' must be a layer, 0 to 7, not 8"),
            ("duck_by", 1.0, "'duck_by' must be a layer"),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(self, field: str, value: object, expected: str) -> None:
        values: dict[str, Any] = {field: value}
        with pytest.raises(SceneError) as error:
            Strip(**values)
        assert expected in str(error.value)

    def test_layers_and_master_are_told_apart(self) -> None:
        state = mixing.begin(RATE, {2: Strip()})
        with pytest.raises(UsageError, match="the master has none"):
            mixing.set_strip(state, None, Strip(solo=True), 0)
        with pytest.raises(UsageError, match="layer 2 cannot be ducked by itself"):
            mixing.set_strip(state, 2, Strip(duck=3, duck_by=2), 0)
        with pytest.raises(UsageError, match="no layer 5 in the mix; there are: 2"):
            mixing.set_strip(state, 5, Strip(), 0)
        with pytest.raises(UsageError, match="layer 2 in the mix already"):
            mixing.add(state, 2, Strip())
        with pytest.raises(UsageError, match="from 0 to 7, not 8"):
            mixing.add(state, 8, Strip())
        with pytest.raises(UsageError, match="no layer 5"):
            mixing.mix(state, {5: noise(8)})
        with pytest.raises(UsageError, match="one N"):
            mixing.mix(mixing.begin(RATE, {0: Strip(), 1: Strip()}), {0: noise(8), 1: noise(9)})
        with pytest.raises(UsageError, match="not nothing"):
            mixing.mix(state, {})


class TestStill:
    def test_a_layer_alone_is_itself(self) -> None:
        sound = noise(1500)
        state, out = mixing.mix(mixing.begin(RATE, {3: Strip()}), {3: sound})
        assert np.array_equal(out, sound)
        assert state.position == 1500

    def test_layers_add_up(self) -> None:
        sounds = {layer: noise(500, layer) for layer in range(8)}
        _, out = mixing.mix(mixing.begin(RATE, dict.fromkeys(range(8), Strip())), sounds)
        assert np.allclose(out, np.sum(list(sounds.values()), axis=0), atol=1e-6)

    def test_without_sound_there_is_silence(self) -> None:
        state, out = mixing.mix(mixing.begin(RATE, {0: Strip()}), {}, 100)
        assert out.shape == (2, 100) and not out.any()
        assert state.position == 100

    @pytest.mark.parametrize("gain", [-60.0, -6.0, 0.0, 24.0])
    def test_gain_is_in_decibels(self, gain: float) -> None:
        sound = noise(100)
        _, out = mixing.mix(mixing.begin(RATE, {0: Strip(gain=gain)}), {0: sound})
        assert np.allclose(out, sound * 10 ** (gain / 20), rtol=1e-6)

    def test_the_lowest_gain_is_silence(self) -> None:
        _, out = mixing.mix(mixing.begin(RATE, {0: Strip(gain=-90)}), {0: noise(100)})
        assert not out.any()

    @pytest.mark.parametrize("pan", [-1.0, -0.5, 0.0, 0.3, 1.0])
    def test_balance_keeps_the_power(self, pan: float) -> None:
        _, out = mixing.mix(mixing.begin(RATE, {0: Strip(pan=pan)}), {0: np.ones((2, 10), np.float32)})
        left, right = out[:, 0].tolist()
        assert left**2 + right**2 == pytest.approx(2.0, abs=1e-6)
        assert left == pytest.approx(right if pan == 0 else np.sqrt(2) * np.cos((pan + 1) * np.pi / 4), abs=1e-6)
        assert (right - left) * pan >= 0

    def test_the_master_is_a_strip_too(self) -> None:
        sounds = {0: noise(2000), 1: noise(2000, 1)}
        both = mixing.begin(RATE, {0: Strip(), 1: Strip()}, Strip(gain=-6, pan=0.5, low=6))
        one = mixing.begin(RATE, {0: Strip(gain=-6, pan=0.5, low=6)})
        _, out = mixing.mix(both, sounds)
        _, expected = mixing.mix(one, {0: sounds[0] + sounds[1]})
        assert np.allclose(out, expected, atol=1e-6)

    def test_what_is_not_a_number_is_silence_and_leaves_no_trace(self) -> None:
        sound = noise(400)
        clean = sound.copy()
        sound[0, 10], sound[1, 200] = np.nan, np.inf
        clean[0, 10] = clean[1, 200] = 0.0
        state = mixing.begin(RATE, {0: Strip(low=6, high=3)})
        assert np.array_equal(mixing.mix(state, {0: sound})[1], mixing.mix(state, {0: clean})[1])


class TestRamps:
    """A constant sound shows the gain itself."""

    ones = np.ones((2, 4800), np.float32)

    def test_gain_moves_in_a_line_from_the_very_sample(self) -> None:
        state, _ = mixing.mix(mixing.begin(RATE, {0: Strip()}), {0: self.ones[:, :100]})
        _, out = mixing.mix(mixing.set_strip(state, 0, Strip(gain=-20), 1000), {0: self.ones})
        assert np.allclose(out[0, :1000], np.linspace(1, 0.1, 1001)[:-1], atol=1e-6)
        assert np.allclose(out[0, 1000:], 0.1, atol=1e-7)

    def test_no_change_is_shorter_than_5_milliseconds(self) -> None:
        _, out = mixing.mix(mixing.set_strip(mixing.begin(RATE, {0: Strip()}), 0, Strip(mute=True), 0), {0: self.ones})
        assert out[0, 239] > 0 and not out[0, 240:].any()
        assert np.abs(np.diff(out[0])).max() < 1 / 239

    def test_a_new_goal_is_sought_from_where_the_gain_is(self) -> None:
        state = mixing.set_strip(mixing.begin(RATE, {0: Strip()}), 0, Strip(gain=-90), 2000)
        state, first = mixing.mix(state, {0: self.ones[:, :1000]})
        _, second = mixing.mix(mixing.set_strip(state, 0, Strip(), 2000), {0: self.ones})
        out = np.concatenate([first, second], axis=1)[0]
        assert out.min() == pytest.approx(0.5) and out[-1] == 1
        assert np.abs(np.diff(out)).max() < 1.01 / 2000

    def test_a_slow_change_goes_on_when_something_else_changes(self) -> None:
        slow = mixing.set_strip(mixing.begin(RATE, {0: Strip()}), 0, Strip(gain=-90), 4000)
        state, _ = mixing.mix(slow, {0: self.ones[:, :1000]})
        _, out = mixing.mix(mixing.set_strip(state, 0, Strip(gain=-90, low=3), 240), {0: self.ones})
        assert out[0, 2000] > 0.2 and not out[0, 3000:].any()

    def test_solo_silences_the_others_and_mute_wins(self) -> None:
        sounds = {0: self.ones, 1: 2 * self.ones, 2: 4 * self.ones}
        state = mixing.begin(RATE, {0: Strip(), 1: Strip(), 2: Strip()})
        levels = []
        for layer, strip in [
            (1, Strip(solo=True)),
            (2, Strip(solo=True)),
            (2, Strip(solo=True, mute=True)),
            (1, Strip()),
            (2, Strip()),
        ]:
            state, out = mixing.mix(mixing.set_strip(state, layer, strip, 480), sounds)
            assert np.abs(np.diff(out)).max() < 7 / 400
            levels.append(float(out[0, -1]))
        assert levels == [2, 6, 2, 0, 7]

    def test_solo_from_the_beginning_and_until_its_layer_is_removed(self) -> None:
        sounds = {0: self.ones, 1: 2 * self.ones}
        state, out = mixing.mix(mixing.begin(RATE, {0: Strip(), 1: Strip(solo=True)}), sounds)
        assert np.all(out == 2)
        state, out = mixing.mix(mixing.remove(state, 1), {0: self.ones})
        assert out[0, 0] == 0 and out[0, -1] == 1

    def test_a_new_layer_waits_for_its_fade(self) -> None:
        state = mixing.add(mixing.begin(RATE, {1: Strip()}), 0, Strip(gain=6.0205999))
        sounds = {0: self.ones, 1: self.ones}
        state, out = mixing.mix(state, sounds)
        assert np.all(out == 1)
        state, out = mixing.mix(mixing.fade_in(state, 0, 2400), sounds)
        assert np.allclose(out[0], 1 + 2 * np.minimum(np.arange(4800) / 2400, 1), atol=1e-5)
        state, _ = mixing.mix(mixing.fade_out(state, 0, 4801), sounds)
        assert not state.faded_out(0)
        state, out = mixing.mix(state, sounds)
        assert state.faded_out(0) and not state.faded_out(1)
        assert out[0, -1] == 1


def shelf_reference(samples: DoubleArray, kind: str, decibels: DoubleArray) -> DoubleArray:
    """The shelf sample by sample: two biquads (band pass and low or high pass), their shares as the gain says."""
    w = 2 * np.pi * (250.0 if kind == "low" else 4000.0) / RATE
    alpha, cosine = np.sin(w) / np.sqrt(2), np.cos(w)
    a = np.array([1 + alpha, -2 * cosine, 1 - alpha])
    band = np.sqrt(2) * np.array([np.sin(w) / 2, 0.0, -np.sin(w) / 2])
    low = (1 - cosine) / 2 * np.array([1.0, 2.0, 1.0])
    high = (1 + cosine) / 2 * np.array([1.0, -2.0, 1.0])
    wet = []
    for b in (band, low if kind == "low" else high):
        out = np.zeros(len(samples) + 2)
        x = np.concatenate([[0.0, 0.0], samples])
        for n in range(2, len(x)):
            out[n] = (b @ x[n - 2 : n + 1][::-1] - a[1] * out[n - 1] - a[2] * out[n - 2]) / a[0]
        wet.append(out[2:])
    root = 10 ** (decibels / 40)
    return np.asarray(samples + (root - 1) * wet[0] + (root**2 - 1) * wet[1])


class TestShelves:
    @pytest.mark.parametrize(("kind", "decibels"), [("low", 12.0), ("low", -24.0), ("high", 12.0), ("high", -9.0)])
    def test_they_are_the_recursion_sample_by_sample(self, kind: str, decibels: float) -> None:
        sound = noise(3000)
        strip: dict[str, Any] = {kind: decibels}
        _, out = played(mixing.begin(RATE, {0: Strip(**strip)}), {0: sound})
        expected = shelf_reference(sound[1].astype(np.float64), kind, np.full(3000, decibels))
        assert np.abs(out[1] - expected).max() < 1e-6

    @pytest.mark.parametrize("kind", ["low", "high"])
    def test_a_gain_that_moves_is_followed_at_every_sample(self, kind: str) -> None:
        sound = noise(3000)
        sound[:, :500] = 0
        strip: dict[str, Any] = {kind: 12.0}
        state, first = mixing.mix(mixing.begin(RATE, {0: Strip()}), {0: sound[:, :500]})
        _, second = mixing.mix(mixing.set_strip(state, 0, Strip(**strip), 1440), {0: sound[:, 500:]})
        root = 1 + (10 ** (12 / 40) - 1) * np.clip((np.arange(3000) - 500) / 1440, 0, 1)
        expected = shelf_reference(sound[0].astype(np.float64), kind, 40 * np.log10(root))
        assert np.abs(np.concatenate([first, second], axis=1)[0] - expected).max() < 1e-6

    @pytest.mark.parametrize("decibels", [-24.0, -6.0, 6.0, 24.0])
    def test_they_lift_and_cut_where_they_should(self, decibels: float) -> None:
        for strip, frequencies in ((Strip(low=decibels), (20, 250, 6000)), (Strip(high=decibels), (20_000, 4000, 200))):
            gains = []
            for frequency in frequencies:
                tone = sine(24_000, frequency, 0.01)
                _, out = played(mixing.begin(RATE, {0: strip}), {0: tone})
                gains.append(20 * np.log10(rms(out[:, 12_000:]) / rms(tone[:, 12_000:])))
            assert gains[0] == pytest.approx(decibels, abs=0.3)
            assert gains[1] == pytest.approx(10 * np.log10((1 + 10 ** (decibels / 10)) / 2), abs=0.1)
            assert gains[2] == pytest.approx(0, abs=0.5)

    def test_what_is_left_of_an_old_sound_becomes_nothing(self) -> None:
        state, _ = mixing.mix(mixing.begin(RATE, {0: Strip(low=12, high=12)}), {0: noise(960)})
        for _ in range(100):
            state, out = mixing.mix(state, {}, 960)
        assert not out.any()
        assert not state.filters["low"].memory.any() and not state.filters["high"].memory.any()


class TestDucking:
    def ducked(self, sidechain: FloatArray, strip: Strip, other: Strip | None = None) -> FloatArray:
        """Gain of a layer of constant sound while another one plays."""
        state = mixing.begin(RATE, {0: strip, 1: other or Strip()})
        quiet = np.zeros_like(sidechain)
        ones = np.ones_like(sidechain)
        _, both = played(state, {0: ones, 1: sidechain})
        _, alone = played(
            mixing.begin(RATE, {0: replace(strip, duck=0, duck_by=None), 1: other or Strip()}), {0: quiet, 1: sidechain}
        )
        return np.asarray(both[0] - alone[0])

    @pytest.mark.parametrize(("decibels", "expected"), [(-10, -12.0), (-29, -12.0), (-36, -6.0), (-90, 0.0)])
    def test_its_depth_follows_the_sidechain(self, decibels: float, expected: float) -> None:
        gain = self.ducked(sine(24_000, 1000, 10 ** (decibels / 20) * np.sqrt(2)), Strip(duck=12, duck_by=1))
        assert 20 * np.log10(gain[12_000:].mean()) == pytest.approx(expected, abs=0.35)

    def test_it_sets_in_within_20_and_lets_go_within_400_milliseconds(self) -> None:
        sidechain = noise(72_000, decibels=-10)
        sidechain[:, 24_000:] = 0
        share = np.log10(self.ducked(sidechain, Strip(duck=20, duck_by=1))) / -1
        assert share[960 + SEGMENT] == pytest.approx(1 - np.exp(-1), abs=0.05)
        assert share[20_000] == pytest.approx(1, abs=0.01)
        assert share[24_000 + 19_200 + SEGMENT] == pytest.approx(np.exp(-1), abs=0.02)

    def test_the_sidechain_counts_as_it_is_mixed(self) -> None:
        loud = noise(9600, decibels=-10)
        for other in (Strip(mute=True), Strip(gain=-90)):
            assert np.allclose(self.ducked(loud, Strip(duck=40, duck_by=1), other), 1, atol=1e-6)
        raised = self.ducked(noise(24_000, decibels=-50), Strip(duck=20, duck_by=1), Strip(gain=24))
        assert raised[-1] < 0.15

    def test_two_layers_can_duck_each_other(self) -> None:
        sounds = {0: noise(24_000, 0), 1: noise(24_000, 1)}
        state = mixing.begin(RATE, {0: Strip(duck=20, duck_by=1), 1: Strip(duck=20, duck_by=0)})
        _, out = played(state, sounds)
        assert np.allclose(out[:, 12_000:], 0.1 * (sounds[0] + sounds[1])[:, 12_000:], atol=1e-2)

    def test_a_sidechain_that_is_not_there_is_silent(self) -> None:
        state = mixing.begin(RATE, {0: Strip(duck=20, duck_by=1), 1: Strip()})
        state, _ = played(state, {0: noise(9600), 1: noise(9600, 1)})
        _, out = played(mixing.remove(state, 1), {0: np.ones((2, 96_000), np.float32)})
        assert out[0, 0] < 0.15 and out[0, -1] > 0.98


CHANGES: dict[str, Callable[[MixState, int], MixState]] = {
    "gain down": lambda state, ramp: mixing.set_strip(state, 0, Strip(gain=-24), ramp),
    "gain up": lambda state, ramp: mixing.set_strip(state, 0, Strip(gain=12), ramp),
    "silence": lambda state, ramp: mixing.set_strip(state, 0, Strip(gain=-90), ramp),
    "mute": lambda state, ramp: mixing.set_strip(state, 0, Strip(mute=True), ramp),
    "solo elsewhere": lambda state, ramp: mixing.set_strip(state, 1, Strip(solo=True), ramp),
    "pan": lambda state, ramp: mixing.set_strip(state, 0, Strip(pan=1), ramp),
    "low shelf": lambda state, ramp: mixing.set_strip(state, 0, Strip(low=12), ramp),
    "low cut": lambda state, ramp: mixing.set_strip(state, 0, Strip(low=-24), ramp),
    "high shelf": lambda state, ramp: mixing.set_strip(state, 0, Strip(high=12), ramp),
    "ducking on": lambda state, ramp: mixing.set_strip(state, 0, Strip(duck=24, duck_by=2), ramp),
    "fade out": lambda state, ramp: mixing.fade_out(state, 0, ramp),
    "master": lambda state, ramp: mixing.set_strip(state, None, Strip(gain=-12, low=6, high=-6, pan=-0.5), ramp),
}


class TestNoClick:
    """A click is a bend: where a sine's gain jumps, its second difference is far above the sine's own."""

    @pytest.mark.parametrize("name", CHANGES)
    @pytest.mark.parametrize(("ramp", "most"), [(0, 3.0), (1440, 1.5)])
    @pytest.mark.parametrize("at", [2400, 2427])
    def test_a_change_bends_a_sine_little_more_than_it_is_bent(
        self, name: str, ramp: int, most: float, at: int
    ) -> None:
        tone, loud = sine(14_400), noise(14_400)
        parts = []
        for sound in (tone, np.zeros_like(tone)):
            sounds = {0: sound, 2: loud}
            before, first = played(mixing.begin(RATE, {0: Strip(), 1: Strip(), 2: Strip()}), sounds, 0, at)
            _, second = played(CHANGES[name](before, ramp), sounds, at)
            parts.append(np.concatenate([first, second], axis=1).astype(np.float64))
        # The loud layer is only there to duck: take it out again.
        bends = np.abs(np.diff(parts[0] - parts[1], 2))
        steady = max(bends[:, 1000:2000].max(), bends[:, -2000:].max())
        assert bends[:, 2000:].max() < most * steady

    def test_a_jump_would_be_noticed(self) -> None:
        tone = sine(4800).astype(np.float64)
        jumped = tone.copy()
        jumped[:, 2427:] *= 10 ** (-3 / 20)
        assert np.abs(np.diff(jumped, 2)).max() > 50 * np.abs(np.diff(tone, 2)).max()


LENGTH = 3000
SOUNDS = {layer: noise(LENGTH, layer) for layer in range(3)}
gains = st.sampled_from([-90.0, -12.0, 0.0, 5.0])
strips = st.builds(
    Strip,
    gain=gains,
    pan=st.sampled_from([-1.0, 0.0, 0.4]),
    mute=st.booleans(),
    solo=st.booleans(),
    low=st.sampled_from([0.0, 0.0, 9.0]),
    high=st.sampled_from([0.0, 0.0, -7.0]),
    duck=st.sampled_from([0.0, 20.0]),
    duck_by=st.sampled_from([None, 2]),
)
masters = st.builds(Strip, gain=gains, low=st.sampled_from([0.0, 4.0]), high=st.sampled_from([0.0, 4.0]))
ramps = st.integers(0, 1000)
events = st.one_of(
    st.tuples(st.just("strip"), st.integers(0, 1), strips, ramps),
    st.tuples(st.just("strip"), st.none(), masters, ramps),
    st.tuples(st.just("fade_in"), st.integers(0, 1), st.none(), ramps),
    st.tuples(st.just("fade_out"), st.integers(0, 1), st.none(), ramps),
    st.tuples(st.just("again"), st.integers(0, 1), strips, ramps),
)


def carried_out(state: MixState, event: tuple[str, int | None, Strip | None, int]) -> MixState:
    name, layer, strip, ramp = event
    if name == "strip":
        assert strip is not None
        return mixing.set_strip(state, layer, strip, ramp)
    assert layer is not None
    if name == "again":
        assert strip is not None
        return mixing.fade_in(mixing.add(mixing.remove(state, layer), layer, strip), layer, ramp)
    return mixing.fade_in(state, layer, ramp) if name == "fade_in" else mixing.fade_out(state, layer, ramp)


def performed(timeline: dict[int, Any], cuts: set[int], saves: bool = False) -> tuple[MixState, FloatArray]:
    """What is heard when `timeline` is played in blocks that end at `cuts`."""
    state = mixing.begin(RATE, {0: Strip(low=3), 1: Strip(duck=12, duck_by=2), 2: Strip()})
    ends, parts = sorted(set(timeline) | cuts | {LENGTH}), []
    for start, end in zip([0, *ends], ends, strict=False):
        if start in timeline:
            state = carried_out(state, timeline[start])
        if saves:
            state = MixState.from_tensors(state.to_tensors("there/"), "there/")
        state, part = mixing.mix(state, {layer: sound[:, start:end] for layer, sound in SOUNDS.items()})
        parts.append(part)
    return state, np.concatenate(parts, axis=1)


class TestLaws:
    @settings(deadline=None, max_examples=60)
    @given(
        st.dictionaries(st.integers(0, LENGTH - 1), events, max_size=4), st.sets(st.integers(1, LENGTH - 1), max_size=5)
    )
    def test_blocks_change_nothing(self, timeline: dict[int, Any], cuts: set[int]) -> None:
        state, whole = performed(timeline, set())
        cut_state, cut = performed(timeline, cuts, saves=True)
        assert np.array_equal(whole, cut)
        expected, found = state.to_tensors(), cut_state.to_tensors()
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)

    def test_single_samples_change_nothing(self) -> None:
        timeline = {700: ("strip", 0, Strip(low=-6, high=4, duck=20, duck_by=2, gain=3), 300)}
        _, whole = performed(timeline, set())
        _, cut = performed(timeline, set(range(600, 1100)))
        assert np.array_equal(whole, cut)

    def test_a_late_clock_counts_the_same(self) -> None:
        late = 10**12 + 7 * SEGMENT
        state = mixing.begin(RATE, {0: Strip(), 1: Strip()})
        outs = []
        for begun in (state, replace(state, position=late)):
            moved = mixing.set_strip(begun, 0, Strip(gain=-12, low=6, duck=12, duck_by=1), 500)
            outs.append(mixing.mix(moved, {0: SOUNDS[0], 1: SOUNDS[1]})[1])
        assert np.array_equal(outs[0], outs[1])


class TestSnapshots:
    def test_what_is_missing_is_named(self) -> None:
        tensors = mixing.begin(RATE, {0: Strip()}).to_tensors("a/")
        del tensors["a/low/window"]
        with pytest.raises(SnapshotError, match="lacks its tensor a/low/window"):
            MixState.from_tensors(tensors, "a/")

    @pytest.mark.parametrize("name", ["clock", "layers", "channels", "high/memory", "ducking/nodes"])
    def test_what_is_damaged_is_refused(self, name: str) -> None:
        tensors = mixing.begin(RATE, {0: Strip()}).to_tensors()
        tensors[f"mix/{name}"] = np.zeros((3, 1))
        with pytest.raises(SnapshotError, match="damaged"):
            MixState.from_tensors(tensors)

    def test_strips_come_back(self) -> None:
        strip = Strip(-3, 0.5, True, True, 4, -4, 12, 3)
        state = MixState.from_tensors(mixing.begin(RATE, {1: strip, 4: Strip()}, Strip(gain=1)).to_tensors())
        assert state.layers[1].strip == strip and state.layers[4].strip == Strip()
        assert state.master.strip == Strip(gain=1) and state.rate == RATE
