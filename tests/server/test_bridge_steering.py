"""What a host does as commands to a session, and what its project holds: the bridge's pure parts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import pytest

from safa_server.bridge.clock import Clock
from safa_server.bridge.document import Document
from safa_server.bridge.parameters import NAMES, USUAL
from safa_server.bridge.segment import JUMP, PARAMETER, TEMPO, TRANSPORT, PluginEvent
from safa_server.bridge.slots import blend, places, read_prompts_file, read_slots, weighted
from safa_server.bridge.steering import Order, Steering
from safa_stream.errors import UsageError
from safa_stream.models import load
from safa_stream.scene import WeightedPrompt
from safa_stream.session.livescene import LiveScene
from safa_stream.session.messages import Freeze, Mix, Prompt, Reseed
from safa_stream.session.session import Session

SLOTS = ("rain", "birds", "wind")


def parameter(index: int, name: str, value: float) -> PluginEvent:
    return PluginEvent(index, PARAMETER, NAMES.index(name), value)


class TestSlots:
    def test_lines_and_commas_are_prompts_and_what_cannot_be_is_named(self) -> None:
        assert read_slots("# mine\nrain  on a tent\n\nbirds, wind\n") == ("rain on a tent", "birds", "wind")
        for text, said in (("a,b,c,d,e,f,g", "the text has 7"), ("rain:0.4", "leave ':' out")):
            with pytest.raises(UsageError, match=said):
                read_slots(text)

    def test_a_file_tells_instances_apart_by_number(self) -> None:
        assert read_prompts_file("rain\n[3]\nfire\nbirds\n[2]\n") == {1: ("rain",), 3: ("fire", "birds")}
        with pytest.raises(UsageError, match=r"\[two\]"):
            read_prompts_file("[two]")

    def test_weights_and_the_point_are_mixed_and_a_text_counts_once(self) -> None:
        values = {**USUAL, "weight_1": 0.5, "weight_2": 0.25}
        assert weighted(SLOTS, values) == (WeightedPrompt("rain", 0.5), WeightedPrompt("birds", 0.25))
        assert weighted(("rain", "Rain"), values) == (WeightedPrompt("Rain", 0.75),)
        assert weighted(SLOTS, {**values, "weight_1": 0.0, "weight_2": 0.0}) == ()
        x, y = places(3)[2]
        assert weighted(SLOTS, {**values, "xy": 1.0, "x": x, "y": y}) == (WeightedPrompt("wind", 1.0),)

    def test_the_surface_is_the_page_s(self) -> None:
        # What blend(places(3), {x: 0.3, y: 0.6}) of web/prompts.js gives.
        assert blend(places(3), (0.3, 0.6)) == (0.19, 0.1, 0.71)
        assert places(2)[0] == pytest.approx((0.14, 0.5))


class TestClock:
    @pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
    def test_frames_and_samples_of_one_moment_are_a_moment(self, rate: int) -> None:
        clock = Clock(rate, 48_000, 240)
        clock.begin(1000, 0)
        assert clock.sample(1000 + rate) == 48_000
        assert clock.command_at(1000 + rate) == 47_760
        clock.begin(1000 + 2 * rate, 10 * rate)
        assert clock.sample(1000 + rate) == 48_000
        assert clock.sample(1000 + 3 * rate) == 11 * 48_000


class TestSteering:
    def test_a_value_that_moves_with_every_block_is_told_now_and_then_with_its_latest_value(self) -> None:
        steering = Steering(48_000, SLOTS)
        moves = [parameter(64 * n, "gain", -n / 100) for n in range(1, 1001)]
        orders = steering.take(moves, 64 * 1001)
        assert all(isinstance(order.command, Mix) for order in orders)
        assert orders[0] == Order(64, Mix(gain=-0.01))
        assert {after.index - one.index for one, after in itertools.pairwise(orders)} == {960}
        # The value at 64 + 960: of the last block before it, or the one that begins there.
        assert orders[1].command == Mix(gain=-0.16)

    def test_values_of_one_block_are_one_change(self) -> None:
        steering = Steering(48_000, SLOTS)
        events = [parameter(64, "weight_1", 0.0), parameter(64, "weight_2", 1.0), parameter(64, "morph", 2.0)]
        orders = steering.take(events, 128)
        assert orders == [Order(64, Prompt(prompts=(WeightedPrompt("birds", 1.0),), morph=2.0))]

    def test_when_events_are_read_changes_nothing(self) -> None:
        noise = random.Random(5)
        kinds = ("gain", "weight_1", "weight_2", "x", "freeze", "seed", "layer_1", "guidance")
        events = [parameter(64 * n, noise.choice(kinds), noise.choice((0.0, 0.5, 1.0, 2.0))) for n in range(1, 3000)]

        def told(cuts: Iterable[int]) -> list[Order]:
            steering, orders, rest = Steering(48_000, SLOTS), list[Order](), list(events)
            for cut in cuts:
                now, rest = [e for e in rest if e.index < cut], [e for e in rest if e.index >= cut]
                orders += steering.take(now, cut)
            return orders

        whole = told([200_000])
        assert len(whole) > 300
        assert told(range(0, 200_001, 480)) == whole
        assert told(sorted(noise.sample(range(200_000), 50)) + [200_000]) == whole

    def test_what_a_session_cannot_be_told_is_kept_back(self) -> None:
        steering = Steering(48_000, SLOTS)
        changes = {"layer_2": -6.0, "wet": 0.5, "guidance": 0.0, "weight_1": 0.0}
        assert steering.take([parameter(0, name, value) for name, value in changes.items()], 10**6) == []
        assert steering.take([parameter(10**6, "gain", -60.0)], 2 * 10**6) == [Order(10**6, Mix(gain=-90.0))]
        steering.layers = frozenset({0, 1})
        events = [parameter(3 * 10**6, name, value) for name, value in (("layer_2", -3.0), ("freeze", 1), ("seed", 9))]
        commands = [order.command for order in steering.take(events, 4 * 10**6)]
        assert commands == [Mix(layer=1, gain=-3.0), Freeze(on=True), Reseed(seed=9)]

    def test_the_transport_decides_only_where_it_is_to_be_followed(self) -> None:
        steering = Steering(48_000, SLOTS)
        assert steering.runs
        steering.take([parameter(0, "follow", 1.0)], 1)
        assert not steering.runs
        steering.take([PluginEvent(2, TRANSPORT, 1, 96_000.0)], 3)
        assert steering.runs
        steering.take([PluginEvent(4, JUMP, 0, 99_000.0, 1000.0), PluginEvent(4, TEMPO, 0, 97.0, 2.5, 3.0)], 5)
        assert steering.tempo is not None and steering.tempo.beats_per_bar == 3.0
        assert steering.notes == [
            "the host's transport rolls at frame 96000",
            "the host's transport jumps from frame 99000 to 1000",
            "the host's tempo is 97, 3 beats a bar, at beat 2.50",
        ]


class TestDocument:
    def test_it_comes_back_from_its_json(self) -> None:
        document = Document.new().under({**USUAL, "gain": -6.0, "seed": 5.0, "weight_3": 0.4}, "rain\nwöl\nfire")
        assert document.as_json().isascii()
        assert Document.from_json(document.as_json()) == document
        assert document.slots == ("rain", "wöl", "fire")
        assert document.scene.master.gain == -6.0 and document.scene.layers[0].seed == 5

    def test_the_scene_is_kept_but_for_parameters_that_have_other_values_by_now(self) -> None:
        scene = LiveScene.from_value("campfire:0.3, owls")
        held = Document(scene, ("campfire", "owls"), {**USUAL, "gain": -3.0})
        # What hosts keep comes back rounded.
        assert held.under({**USUAL, "gain": -3.0002}, "").scene == scene
        louder = held.under({**USUAL, "gain": -60.0}, "").scene
        assert louder.master.gain == -90.0 and louder.layers == scene.layers
        other = held.under({**USUAL, "gain": -3.0, "weight_1": 0.0, "weight_2": 1.0}, "")
        assert other.scene.layers[0].prompts == (WeightedPrompt("owls", 1.0),)
        named = held.under({**USUAL, "gain": -3.0}, "surf")
        assert named.scene.layers[0].prompts == (WeightedPrompt("surf", 1.0),)

    def test_what_others_did_to_the_session_is_in_it(self) -> None:
        document = Document.new()
        session = Session.begin(load("builtin"), document.scene)
        session.receive(Prompt(prompts=(WeightedPrompt("owls", 0.4),)))
        session.receive(Mix(layer=0, gain=-4.0, pan=0.5))
        heard = document.heard(session.describe()).scene
        assert heard.layers[0].prompts == (WeightedPrompt("owls", 0.4),)
        assert (heard.layers[0].strip.gain, heard.layers[0].strip.pan) == (-4.0, 0.5)
        untouched = Document.new()
        described = Session.begin(load("builtin"), untouched.scene).describe()
        assert untouched.heard(described) == untouched

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "cannot be read"),
            ('{"format": "safa-live-1"}', "format 'safa-plugin-1'"),
            ('{"format": "safa-plugin-1", "scene": {}, "slots": [], "parameters": {}, "prompts": ""}', "format"),
        ],
    )
    def test_what_is_none_is_refused_in_a_line(self, text: str, said: Any) -> None:
        with pytest.raises(UsageError, match=said):
            Document.from_json(text)
