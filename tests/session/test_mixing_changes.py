"""Changes of the mix: nothing clicks, and how sound is cut into blocks changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa_stream.session import mixing
from safa_stream.session.mixing import MixState
from safa_stream.session.shelves import SEGMENT
from safa_stream.session.strips import Strip
from safa_stream.types import FloatArray
from tests.session.desk import RATE, noise, played, sine

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
