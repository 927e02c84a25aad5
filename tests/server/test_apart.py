"""Layers by themselves, sessions of many channels, and faders that never rest: by WebSocket, as clients meet them."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import numpy as np

from safa_server.client import SafaClient
from safa_server.header import samples
from safa_server.limits import Limits
from tests.server.test_listening import assert_whole, bytes_by_number
from tests.server.ws_rig import BLOCK, RATE, Raw, client, eventually, quiet_log, run, serving

SCENE = {
    "format": "safa-live-1",
    "layers": [
        {"layer": 0, "prompts": "low", "gain": -3, "pan": 0.4, "low": 6},
        {"layer": 3, "prompts": "high", "seed": 5, "gain": -9, "duck": 12, "duck_by": 0},
    ],
}


def sound(one: Raw) -> dict[int, np.ndarray]:
    """Samples by frame number."""
    return {head.sequence: samples(head, payload) for head, payload, _ in one.frames}


class TestLayers:
    def test_a_game_hears_every_layer_by_itself_and_all_together_are_the_mix(self) -> None:
        async def test() -> None:
            async with serving() as rig, client(rig) as mix, client(rig) as rain, client(rig) as fire:
                opened = await mix.ask("open", scene={**SCENE, "channels": 4})
                assert (opened["channels"], opened["layer"], opened["state"]["channels"]) == (4, None, 4)
                for layer, one in ((0, rain), (3, fire)):
                    answer = await one.ask("join", session=opened["session"], layer=layer)
                    assert (answer["layer"], answer["channels"]) == (layer, 4)
                await mix.say("mix", layer=3, gain=-2, ramp=0.1)
                for one in (mix, rain, fire):
                    await one.hear(40)
                    assert_whole(one)
                whole, first, second = sound(mix), sound(rain), sound(fire)
                # The first frame that a layer is heard in begins with the limiter's delay.
                shared = sorted(set(whole) & set(first) & set(second))[1:]
                assert len(shared) > 25
                for number in shared:
                    assert whole[number].shape == (4, BLOCK)
                    assert np.abs(first[number] + second[number] - whole[number]).max() < 1e-6
                assert any(np.abs(second[number]).max() > 0.001 for number in shared)

        with quiet_log():
            run(test())

    def test_a_session_can_begin_with_one_layer_heard(self) -> None:
        async def test() -> None:
            async with serving() as rig, client(rig) as one, client(rig) as two:
                opened = await one.ask("open", scene=SCENE, layer=3, format="s16")
                assert opened["layer"] == 3
                await two.ask("join", session=opened["session"], layer=3, format="s16")
                await one.hear(10)
                await two.hear(10)
                same = bytes_by_number(one).items() & bytes_by_number(two).items()
                assert len(same) >= 9
                state = (await one.ask("state"))["state"]
                assert [listener["layer"] for listener in state["listeners"]] == [3, 3]

        with quiet_log():
            run(test())

    def test_who_comes_back_to_a_layer_gets_every_frame_and_then_it_is_let_go(self) -> None:
        async def test() -> None:
            limits = Limits(resume_seconds=1.0)
            async with serving(limits) as rig, client(rig) as mix, client(rig) as witness:
                opened = await mix.ask("open", scene=SCENE)
                station = rig.stations.find(opened["session"])
                assert station is not None and station.apart == frozenset()
                wanted: dict[str, Any] = {"session": opened["session"], "layer": 0}
                await witness.ask("join", **wanted)
                async with client(rig) as lost:
                    await lost.ask("join", **wanted)
                    await lost.hear(10)
                    lost.socket.transport.abort()
                assert station.apart == {0}
                async with client(rig) as back:
                    resumed = await back.ask("join", **wanted, **{"from": lost.frames[-1][0].sequence})
                    assert resumed["resumed_from"] == lost.frames[-1][0].sequence + 1
                    await back.hear(20)
                    await witness.hear(40)
                    assert_whole(back)
                    shared = bytes_by_number(back).keys() & bytes_by_number(witness).keys()
                    assert len(shared) >= 15
                    assert all(bytes_by_number(back)[n] == bytes_by_number(witness)[n] for n in shared)
                await witness.socket.close()
                await eventually(lambda: station.apart == frozenset())

        with quiet_log():
            run(test())

    def test_a_broken_connection_goes_on_with_its_layer(self) -> None:
        async def test() -> None:
            async with serving() as rig, client(rig) as mix, SafaClient.connect(rig.url) as rain:
                opened = await mix.ask("open", scene=SCENE)
                assert (await rain.join(opened["session"], layer=3))["layer"] == 3
                before = [(await anext(rain)).samples() for _ in range(5)]
                assert rain._socket.transport is not None
                rain._socket.transport.abort()
                after = [(await anext(rain)).samples() for _ in range(20)]
                assert (rain.resumed, rain.lost) == (1, 0) and len(before) == 5
                (listener,) = [one for one in (await mix.ask("state"))["state"]["listeners"] if one["layer"] == 3]
                assert listener["channels"] == 2 and any(frame.any() for frame in after)

        with quiet_log():
            run(test())

    def test_a_layer_that_goes_leaves_silence_on_the_same_clock(self) -> None:
        async def test() -> None:
            async with serving() as rig, client(rig) as mix, client(rig) as one:
                opened = await mix.ask("open", scene=SCENE)
                await one.ask("join", session=opened["session"], layer=3)
                await one.hear(5)
                await mix.ask("layer.remove", layer=3, ramp=0.05)
                await one.until(lambda message: message["type"] == "layer.ended")
                have = len(one.frames)
                await one.hear(have + 5)
                assert_whole(one)
                assert not any(samples(head, payload).any() for head, payload, _ in one.frames[have + 2 :])

        with quiet_log():
            run(test())

    def test_what_cannot_be_heard_is_said(self) -> None:
        async def test() -> None:
            async with serving() as rig, client(rig) as one, client(rig) as two:
                session = (await one.ask("open", scene={**SCENE, "channels": 4}))["session"]
                for asked, field, said in (
                    ({"layer": 5}, "layer", "there is no layer 5; there are 0, 3"),
                    ({"layer": 8}, "layer", "from 0 to 7"),
                    ({"channels": 5}, "channels", "the session has 4, not 5"),
                    ({"format": "opus"}, "channels", "Opus frames have 1 or 2, not 4"),
                ):
                    error = await two.ask("join", session=session, **asked)
                    assert (error["type"], error["field"]) == ("error", field) and said in error["reason"]
                # Nothing is held against who asked wrongly.
                assert (await two.ask("join", session=session, channels=2))["channels"] == 2

        with quiet_log():
            run(test())


class TestChannels:
    def test_frames_have_as_many_as_were_asked_for_and_the_first_ones_are_the_same(self) -> None:
        async def test() -> None:
            async with serving() as rig, client(rig) as one, client(rig) as two, client(rig) as mono:
                opened = await one.ask("open", scene="low", channels=6)
                assert (opened["channels"], opened["state"]["channels"]) == (6, 6)
                await two.ask("join", session=opened["session"], channels=2)
                await mono.ask("join", session=opened["session"], channels=1)
                for listener in (one, two, mono):
                    await listener.hear(20)
                    assert_whole(listener)
                six, pair, single = sound(one), sound(two), sound(mono)
                shared = six.keys() & pair.keys() & single.keys()
                assert len(shared) > 10
                for number in shared:
                    assert six[number].shape == (6, BLOCK) and np.array_equal(six[number][:2], pair[number])
                    assert np.allclose(single[number], pair[number].mean(axis=0), atol=1e-7)

        with quiet_log():
            run(test())

    def test_sixteen_channels_at_another_rate(self) -> None:
        async def test() -> None:
            async with serving() as rig, client(rig) as one:
                await one.ask("open", scene="low", channels=16, rate=44_100, format="s24")
                head, payload, _ = (await one.hear(8))[7]
                assert (head.channels, head.rate, head.frames) == (16, 44_100, 882)
                assert len(np.unique(samples(head, payload).round(6), axis=0)) == 16

        with quiet_log():
            run(test())

    def test_a_session_counts_for_each_of_its_groups(self) -> None:
        async def test() -> None:
            async with serving(layers=3) as rig, client(rig) as one, client(rig) as two:
                refused = await one.ask("open", scene="low", channels=8)
                assert refused["code"] == "admission" and "these channels counts 4 times" in refused["reason"]
                assert (await one.ask("open", scene="low", channels=6))["type"] == "opened"
                assert (await two.ask("open", scene="low"))["code"] == "admission"

        with quiet_log():
            run(test())


def test_a_game_moves_eight_faders_at_every_picture_and_each_is_answered_soon() -> None:
    """60 pictures a second with 8 values each, for a second: more than this connection could say in other messages."""
    pictures, values, asked = 60, 8, dict[int, float]()

    async def test() -> None:
        async with serving(Limits(messages_per_second=100)) as rig, client(rig) as game:
            await game.ask("open", scene=SCENE, format="s16")
            answered, commands, late = set[int](), set[int](), list[float]()

            async def read() -> None:
                while len(answered) < pictures * values:
                    message = await game.read()
                    if isinstance(message, dict) and message["type"] in ("done", "error") and message["id"] >= 1000:
                        assert message["type"] == "done"
                        answered.add(message["id"])
                        commands.add(message["command"])
                        late.append(time.perf_counter() - asked[message["id"]])

            reading = asyncio.create_task(read())
            begun = time.perf_counter()
            for picture in range(pictures):
                for value in range(values):
                    number = 1000 + picture * values + value
                    field = ("gain", "pan", "low", "high")[value // 2]
                    asked[number] = time.perf_counter()
                    await game.say("mix", number, layer=(0, 3)[value % 2], **{field: (picture % 20) / 20})
                await asyncio.sleep(max(0.0, begun + (picture + 1) / 60 - time.perf_counter()))
            async with asyncio.timeout(45):
                await reading
            spent = time.perf_counter() - begun
            # Two layers move: two commands a block at most. So much time touches one block more than fill it, and
            # two commands go ahead of the first block.
            assert len(commands) <= 2 * (math.ceil(spent * RATE / BLOCK) + 2)
            # Nobody was made to wait for a turn; how soon the answers come is the machine's.
            assert not rig.metrics.value("safa_messages_delayed_total")
            ordered = sorted(late)
            print(
                f"{len(late)} messages in {spent:.1f} s, {len(commands)} commands, answers within "
                f"{1000 * ordered[len(late) // 2]:.1f} ms (median), {1000 * ordered[-1]:.0f} ms (all)"
            )

    with quiet_log():
        run(test())
