"""The mixer: what its values mean, when they take effect, and how they are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safa_stream.errors import SceneError, SnapshotError, UsageError
from safa_stream.session import mixing
from safa_stream.session.mixing import MixState
from safa_stream.session.strips import Strip
from tests.session.desk import RATE, noise


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

    def test_the_master_can_be_muted_and_comes_back(self) -> None:
        state = mixing.set_strip(mixing.begin(RATE, {0: Strip()}), None, Strip(mute=True), 480)
        state, out = mixing.mix(state, {0: self.ones})
        assert out[0, 0] == 1 and not out[:, 480:].any()
        state, out = mixing.mix(mixing.set_strip(state, None, Strip(), 480), {0: self.ones})
        assert (out[:, 480:] == 1).all()
        assert not mixing.mix(mixing.begin(RATE, {0: Strip()}, Strip(mute=True)), {0: self.ones})[1].any()

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
