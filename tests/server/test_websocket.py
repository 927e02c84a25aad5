"""/ws with real sockets: answers, rights, clocks, commands, bounds. Sound that several hear: test_listening.py."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from safa_server.header import samples
from safa_server.limits import Limits
from safa_server.requests import OpenRequest
from safa_stream.errors import FailureError, UsageError
from tests.server.ws_rig import BLOCK, RATE, client, eventually, quiet_log, run, serving


def test_a_session_from_open_to_close() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            assert one.socket.subprotocol == "safa.v1"
            opened = await one.ask("open", scene="low, high:0.5", name="tent")
            assert (opened["type"], opened["rate"], opened["channels"], opened["format"]) == ("opened", RATE, 2, "f32")
            assert opened["control"] and opened["playing"] and opened["position"] == 0
            assert opened["state"]["name"] == "tent" and opened["session_rate"] == RATE
            station = rig.stations.find(opened["session"])
            assert station is not None and station.token == opened["token"]
            frames = await one.hear(20)
            assert [head.sequence for head, _, _ in frames] == list(range(20))
            assert [head.start for head, _, _ in frames] == [n * BLOCK for n in range(20)]
            assert np.abs(samples(*frames[10][:2])).max() > 1e-4
            made = await one.ask("provenance", number=frames[0][0].provenance)
            assert made["provenance"]["layers"][0]["layer"] == 0
            assert (await one.ask("close"))["type"] == "done"
            await one.socket.wait_closed()
            assert one.socket.close_code == 1000 and rig.stations.all() == []

    with quiet_log():
        run(test())


def test_commands_are_answered_by_number_and_events_name_it() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            await one.ask("open", scene="low")
            done = await one.ask("mix", layer=0, gain=-60, ramp=0.0)
            applied = next(text for text in one.texts if text["type"] == "applied")
            assert done["command"] == applied["command"] == 1
            await one.hear(5)
            # The change is heard from the block that leaves next: far within 60 ms.
            quiet = await one.hear(len(one.frames) + 10)
            late = [
                np.abs(samples(*frame[:2])).max() for frame in quiet if frame[0].start >= applied["start"] + 3 * BLOCK
            ]
            assert late and max(late) < 0.01
            assert (await one.ask("prompt", prompts="high", now=True, morph=0))["command"] == 2
            assert (await one.ask("state"))["state"]["layers"][0]["prompts"] == "high"
            refused = await one.ask("layer.remove", layer=5)
            assert (refused["code"], refused["field"]) == ("refused", "layer")
            assert (await one.ask("mix", layer=0, gain=0))["command"] == 3
            # What is said after the next block is a command of its own.
            await one.hear(len(one.frames) + 2)
            await one.say("mix", layer=0, pan=0.5)
            await one.until(lambda text: text["type"] == "applied" and text["command"] == 4)
            assert not [text for text in one.texts if text["type"] == "done" and "id" not in text]

    with quiet_log():
        run(test())


def test_refusals_name_code_and_field_and_change_nothing() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            for text, code, field in (
                ('{"type":"mix","id":1}', "not_open", None),
                ('{"type":"open","scene":"","id":2}', "refused", None),
                ('{"type":"open","scene":{"format":"x"},"id":3}', "refused", "layers"),
                ('{"type":"open","scene":"low","lead":0.5,"id":4}', "bad_value", "lead"),
                ('{"type":"open","scene":"low","format":"opus","rate":44100,"id":5}', "refused", None),
                ('{"type":"join","session":"nobody","id":6}', "no_session", "session"),
                ('{"type":"ping","client_clock":null,"id":7}', "bad_value", "client_clock"),
            ):
                await one.socket.send(text)
                answer = await one.read()
                assert isinstance(answer, dict) and answer["id"] == json.loads(text)["id"]
                assert (answer["type"], answer["code"], answer["field"]) == ("error", code, field), text
            await one.socket.send("not json")
            assert (await one.until(lambda text: text["code"] == "bad_json")).get("id") is None
            await one.socket.send(b"binary")
            await one.until(lambda text: text["code"] == "bad_message")
            assert rig.stations.all() == []
            await one.ask("open", scene="low")
            assert (await one.ask("open", scene="low"))["code"] == "already_open"
            assert (await one.ask("mix", layer=0, gian=1))["field"] == "gian"
            assert (await one.ask("state"))["state"]["layers"][0]["gain"] == 0.0

    with quiet_log():
        run(test())


def test_the_clocks() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            assert (await one.ask("ping", client_clock=3))["position"] == 0
            await one.ask("open", scene="low")
            frames = await one.hear(30)
            before = time.monotonic_ns()
            pong = await one.ask("ping", client_clock=12345.6789)
            assert pong["client_clock"] == 12345.6789
            assert before <= pong["server_clock_ns"] <= time.monotonic_ns()
            assert pong["position"] >= frames[29][0].start
            clocks = [head.clock_ns for head, _, _ in one.frames]
            assert clocks == sorted(clocks)
            # Blocks leave when their time has come: a busy machine makes them later, nothing earlier.
            assert (clocks[-1] - clocks[20]) / 1e9 < (len(clocks) - 21) * 0.02 + 5
            assert min(after - at for at, after in zip(clocks[20:], clocks[21:], strict=False)) >= 0
            assert (await one.ask("playhead", position=4800))["type"] == "done"
            assert (await one.ask("ack", sequence=9))["type"] == "done"
            listener = (await one.ask("state"))["state"]["listeners"][0]
            assert (listener["playhead"], listener["acknowledged"], listener["control"]) == (4800, 9, True)
            assert isinstance((await one.ask("ping", client_clock=2**60))["client_clock"], int)

    with quiet_log():
        run(test())


def test_pause_and_play() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            assert not (await one.ask("open", scene="low", play=False))["playing"]
            await asyncio.sleep(0.3)
            assert (await one.ask("ping", client_clock=0))["position"] == 0 and not one.frames
            await one.ask("play")
            await one.hear(15)
            await one.ask("pause")
            position = (await one.ask("ping", client_clock=0))["position"]
            await asyncio.sleep(0.2)
            assert (await one.ask("ping", client_clock=0))["position"] == position
            await one.ask("play")
            frames = await one.hear(len(one.frames) + 10)
            assert [head.sequence for head, _, _ in frames] == list(range(len(frames)))

    with quiet_log():
        run(test())


def test_who_only_listens_cannot_steer() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as owner, client(rig) as guest:
            opened = await owner.ask("open", scene="low")
            wrong = await guest.ask("join", session=opened["session"], token="wrong-token", control=True)
            assert (wrong["code"], wrong["field"]) == ("not_allowed", "token")
            joined = await guest.ask("join", session=opened["session"])
            assert joined["token"] is None and not joined["control"]
            for type, fields in (("mix", {"gain": 0}), ("pause", {}), ("grant", {"samples": 1})):
                assert (await guest.ask(type, **fields))["code"] == "not_allowed"
            assert (await guest.ask("state"))["type"] == "state"
            await guest.hear(5)
            # A guest that says close leaves; the session stays.
            await guest.ask("close")
            await guest.socket.wait_closed()
            assert (await owner.ask("mix", gain=-1))["type"] == "done"

    with quiet_log():
        run(test())


def test_the_machine_s_bound_is_an_answer_with_a_time() -> None:
    async def test() -> None:
        async with serving(layers=1) as rig, client(rig) as one, client(rig) as two:
            await one.ask("open", scene="low")
            refused = await two.ask("open", scene="low")
            assert refused["code"] == "admission" and refused["retry_after"] > 0
            assert (await two.ask("open", scene="low", pacing="pull"))["type"] == "opened"
            assert rig.metrics.value("safa_sessions_refused_total", reason="speed") == 1

    with quiet_log():
        run(test())


def test_who_says_nothing_is_closed() -> None:
    async def test() -> None:
        async with serving(Limits(first_message_seconds=0.3)) as rig, client(rig) as one, client(rig) as two:
            await two.ask("open", scene="low")
            await one.socket.wait_closed()
            assert one.socket.close_code == 1008 and "say open or join" in one.socket.close_reason
            await asyncio.sleep(0.2)
            assert (await two.ask("ping", client_clock=1))["type"] == "pong"

    with quiet_log():
        run(test())


def test_messages_that_come_too_fast_wait() -> None:
    async def test() -> None:
        async with serving(Limits(messages_per_second=25)) as rig, client(rig) as flood, client(rig) as other:
            await flood.ask("open", scene="low")
            await other.ask("open", scene="low")
            began = time.monotonic()
            for n in range(100):
                await flood.say("ping", n, client_clock=n)
            assert (await other.ask("ping", client_clock=1))["type"] == "pong"
            assert rig.metrics.value("safa_messages_total") < 100, "who floods waits, and nobody else"
            await flood.until(lambda text: text.get("id") == 99)
            assert time.monotonic() - began > 1.5
            assert rig.metrics.value("safa_messages_delayed_total") > 10

    with quiet_log():
        run(test())


def test_a_long_message_closes_only_its_connection() -> None:
    async def test() -> None:
        async with serving(Limits(message_bytes=5000)) as rig, client(rig) as one, client(rig) as two:
            await two.ask("open", scene="low")
            await one.socket.send("x" * 5001)
            await one.socket.wait_closed()
            assert one.socket.close_code == 1009
            assert (await two.ask("ping", client_clock=1))["type"] == "pong"

    with quiet_log():
        run(test())


def test_compression_is_not_negotiated() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig, compression="deflate") as one:
            assert one.socket.protocol.extensions == []

    run(test())


def test_connections_have_a_bound() -> None:
    async def test() -> None:
        async with serving(Limits(connections=2)) as rig, client(rig), client(rig):
            with pytest.raises(InvalidStatus) as caught:
                async with client(rig):
                    pass
            assert caught.value.response.status_code == 503
            assert caught.value.response.headers["Retry-After"] == "5"
            assert rig.metrics.value("safa_connections") == 2

    with quiet_log():
        run(test())


def test_the_sub_protocol() -> None:
    async def test() -> None:
        async with serving() as rig:
            async with client(rig, subprotocols=None) as one:
                assert one.socket.subprotocol is None
                assert (await one.ask("open", scene="low"))["type"] == "opened"
            with pytest.raises(InvalidHandshake):
                async with client(rig, subprotocols=["safa.v2"]):
                    pass

    with quiet_log():
        run(test())


def test_a_session_that_ends_closes_everybody() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as owner, client(rig) as guest:
            opened = await owner.ask("open", scene="low")
            await guest.ask("join", session=opened["session"])
            station = rig.stations.find(opened["session"])
            assert station is not None
            station.close()
            for one in (owner, guest):
                assert "ended" in (await one.until(lambda text: text["type"] == "closing"))["reason"]
                await one.socket.wait_closed()
                assert one.socket.close_code == 1000
            assert rig.metrics.value("safa_listeners") == 0

    with quiet_log():
        run(test())


def test_clients_are_told_when_the_server_stops() -> None:
    async def test() -> None:
        async with serving() as rig:
            socket = client(rig)
            one = await socket.__aenter__()
            await one.ask("open", scene="low")
        with pytest.raises(ConnectionClosed):
            while True:
                await one.read()
        assert one.socket.close_code == 1001
        assert any(text["type"] == "closing" for text in one.texts)

    with quiet_log():
        run(test())


def test_a_port_in_use_is_one_line() -> None:
    async def test() -> None:
        async with serving() as rig:
            with pytest.raises(FailureError, match=f"cannot listen on 127.0.0.1:{rig.port}"):
                async with rig.front.listen("127.0.0.1", rig.port):
                    pass

    run(test())


def test_limits_have_to_make_sense() -> None:
    with pytest.raises(UsageError, match="connections"):
        Limits(connections=0)
    with pytest.raises(UsageError, match="stuck_bytes"):
        Limits(stuck_bytes=1000)


def test_sessions_that_nobody_comes_back_to_end() -> None:
    async def test() -> None:
        async with serving(Limits(resume_seconds=0.4)) as rig:
            async with client(rig) as one:
                await one.ask("open", scene="low")
                await asyncio.sleep(1.2)
                assert len(rig.stations.all()) == 1
            await asyncio.sleep(0.1)
            assert len(rig.stations.all()) == 1
            await eventually(lambda: not rig.stations.all(), 3)

    with quiet_log():
        run(test())


def test_sessions_end_when_they_are_too_old_but_for_the_servers_own() -> None:
    async def test() -> None:
        async with serving(session_seconds=1.5) as rig, client(rig) as one, client(rig) as other, client(rig) as third:
            main = rig.stations.main = await rig.stations.open(OpenRequest("low", pacing="pull"))
            await third.ask("join", session=main.id)
            unheard = await rig.stations.open(OpenRequest("low", pacing="pull"))
            began = time.monotonic()
            opened = await one.ask("open", scene="low")
            await other.ask("join", session=opened["session"])
            for listening in (one, other):
                told = await listening.until(lambda message: message["type"] == "closing")
                assert told["reason"] == "its time is over: sessions last 1.5 s on this server"
                await listening.socket.wait_closed()
                assert (listening.socket.close_code, listening.socket.close_reason) == (1000, told["reason"])
            assert time.monotonic() - began >= 1.5
            assert unheard.closed and rig.stations.all() == [main]
            assert (await third.ask("state"))["state"]["session"] == main.id
            async with client(rig) as late:
                refused = await late.ask("join", session=opened["session"], token=opened["token"])
                assert refused["code"] == "no_session"

    with quiet_log():
        run(test())


def test_sessions_that_others_opened_stay_unless_they_were_adopted() -> None:
    async def test() -> None:
        async with serving(Limits(resume_seconds=0.3)) as rig:
            kept, adopted = [await rig.stations.open(OpenRequest("low", pacing="pull")) for _ in range(2)]
            rig.hub.adopt(adopted)
            async with client(rig) as one:
                await one.ask("join", session=kept.id)
            await eventually(lambda: adopted.closed)
            assert rig.stations.all() == [kept]

    with quiet_log():
        run(test())
