"""One session, several listeners: the same bytes for all, resumed to the bit, slow ones apart, credits, bounds."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from safa_server.header import AFTER_GAP, samples, unpack
from safa_server.limits import Limits
from safa_server.wire import parse
from tests.server.ws_rig import BLOCK, RATE, Raw, Rig, client, eventually, quiet_log, run, serving


def bytes_by_number(one: Raw) -> dict[int, bytes]:
    return {head.sequence: message for head, _, message in one.frames}


def assert_whole(one: Raw) -> None:
    """Every frame follows the one before it, but for gaps that were told, and those are told exactly."""
    told = {text["from"]: text["to"] for text in one.texts if text["type"] == "dropped"}
    for (before, _, _), (after, _, _) in zip(one.frames, one.frames[1:], strict=False):
        end = before.start + before.frames
        if after.flags & AFTER_GAP:
            assert told.pop(end) == after.start
        else:
            assert (after.sequence, after.start) == (before.sequence + 1, end)
    assert not told


def test_all_hear_the_same_bytes() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one, client(rig) as two, client(rig) as other:
            opened = await one.ask("open", scene="low", format="s16")
            await two.ask("join", session=opened["session"], format="s16")
            await other.ask("join", session=opened["session"], format="s24", rate=44_100, channels=1)
            await one.hear(30)
            await two.hear(25)
            await other.hear(25)
            first, second = bytes_by_number(one), bytes_by_number(two)
            shared = set(first) & set(second)
            assert len(shared) >= 24 and all(first[number] == second[number] for number in shared)
            head, payload, _ = other.frames[20]
            assert (head.format, head.rate, head.channels, head.frames) == ("s24", 44_100, 1, 882)
            # Their numbers mean the same time in every encoding.
            assert head.start == head.sequence * 882 and samples(head, payload).shape == (1, 882)
            for listener in (one, two, other):
                assert_whole(listener)
            assert rig.metrics.value("safa_listeners") == 3

    with quiet_log():
        run(test())


@pytest.mark.parametrize(("format", "rate"), [("f32", RATE), ("s24", 44_100), ("opus", RATE)])
def test_who_comes_back_gets_every_frame_bit_equal(format: str, rate: int) -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as witness:
            async with client(rig) as lost:
                wanted = {"format": format, "rate": rate, "channels": 2}
                opened = await lost.ask("open", scene="low", **wanted)
                await witness.ask("join", session=opened["session"], **wanted)
                await lost.hear(15)
                # The connection breaks: nothing is said, the other side just is not there any more.
                lost.socket.transport.abort()
            await witness.hear(35)
            after = lost.frames[-1][0].sequence
            async with client(rig) as back:
                token = {"token": opened["token"], "control": True}
                resumed = await back.ask("join", session=opened["session"], **token, **wanted, **{"from": after})
                assert resumed["resumed_from"] == after + 1 and resumed["control"]
                await back.hear(35)
                await witness.hear(50)
                assert back.frames[0][0].sequence == after + 1
                assert_whole(back)
                heard = {**bytes_by_number(lost), **bytes_by_number(back)}
                assert sorted(heard) == list(range(max(heard) + 1))
                reference = bytes_by_number(witness)
                shared = set(heard) & set(reference)
                assert len(shared) > 30 and all(heard[number] == reference[number] for number in shared)
                assert not any(text["type"] == "dropped" for text in back.texts)
                assert rig.metrics.value("safa_resumed_total") == 1

    with quiet_log():
        run(test())


def test_who_comes_back_too_late_is_told_which_samples_are_gone() -> None:
    async def test() -> None:
        async with serving(Limits(resume_seconds=0.3, queue_seconds=0.2)) as rig, client(rig) as witness:
            async with client(rig) as lost:
                opened = await lost.ask("open", scene="low")
                await witness.ask("join", session=opened["session"])
                await lost.hear(12)
            await witness.hear(90)
            async with client(rig) as back:
                back.frames.append(lost.frames[11])
                resumed = await back.ask("join", session=opened["session"], token=opened["token"], **{"from": 11})
                await back.hear(8)
                gone = next(text for text in back.texts if text["type"] == "dropped")
                head = back.frames[1][0]
                assert resumed["resumed_from"] == head.sequence > 12
                assert (gone["from"], gone["to"]) == (12 * BLOCK, head.start)
                assert gone["samples"] == gone["to"] - gone["from"] and head.flags == AFTER_GAP
                assert_whole(back)
            async with client(rig) as early:
                ahead = await early.ask("join", session=opened["session"], **{"from": 10**6})
                assert ahead["code"] == "refused" and "not been sent" in ahead["reason"]

    with quiet_log():
        run(test())


def test_another_encoding_tells_the_gap_as_well() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one, client(rig) as two:
            opened = await one.ask("open", scene="low")
            await one.hear(20)
            await two.ask("join", session=opened["session"], format="s16", rate=16_000, **{"from": 4})
            await two.hear(5)
            gone = next(text for text in two.texts if text["type"] == "dropped")
            assert (gone["from"], gone["to"]) == (5 * 320, two.frames[0][0].start)

    with quiet_log():
        run(test())


async def stalled(rig: Rig, session: str, **fields: Any) -> socket.socket:
    """A listener that shakes hands, joins, and never reads again; its system buffers as little as it can."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", rig.port))
    protocol = ClientProtocol(parse_uri(rig.url))
    protocol.send_request(protocol.connect())
    await loop.sock_sendall(raw, b"".join(protocol.data_to_send()))
    protocol.receive_data(await loop.sock_recv(raw, 4096))
    protocol.events_received()
    text = {"type": "join", "session": session, **fields}
    protocol.send_text(json.dumps(text).encode())
    await loop.sock_sendall(raw, b"".join(protocol.data_to_send()))
    return raw


def test_a_client_that_does_not_read_slows_nobody_and_keeps_nothing() -> None:
    async def test() -> None:
        limits = Limits(queue_seconds=0.5, write_bytes=16 * 1024)
        async with serving(limits) as rig, client(rig) as good:
            opened = await good.ask("open", scene="low")
            await good.hear(5)
            stuck = [await stalled(rig, opened["session"]) for _ in range(3)]
            await eventually(lambda: rig.metrics.value("safa_listeners") == 4)
            await good.hear(140)
            assert_whole(good)
            # The session's clock did not wait for the others.
            clocks = [head.clock_ns for head, _, _ in good.frames[30:]]
            assert (clocks[-1] - clocks[0]) / 1e9 < 0.02 * len(clocks) + 5, "they stood still for longer than that"
            station = rig.stations.all()[0]

            def kept() -> bool:
                """The stuck ones are at their bound, half a second of frames; the good one has all."""
                behind = [one["behind"] for one in rig.hub.listeners(station)]
                return behind[0] <= 2 and all(20 <= frames <= 26 for frames in behind[1:])

            await eventually(kept)
            waiting = [connection.transport.get_write_buffer_size() for connection in rig.front.sockets]
            assert len(waiting) == 4 and max(waiting) < 16 * 1024 + 8000
            # Waking up, they get what is kept, and know exactly what is not.
            heard = Raw.__new__(Raw)
            heard.frames, heard.texts = [], []
            await read_on(stuck[0], heard, 60)
            assert any(text["type"] == "dropped" for text in heard.texts)
            assert_whole(heard)
            for one in stuck:
                one.close()
            await eventually(lambda: rig.metrics.value("safa_listeners") == 1)

    with quiet_log():
        run(test())


async def read_on(raw: socket.socket, into: Raw, frames: int) -> None:
    """Read what waits for a stalled client, and a while on, message by message."""
    loop, held = asyncio.get_running_loop(), b""
    async with asyncio.timeout(45):
        while len(into.frames) < frames:
            held += await loop.sock_recv(raw, 65536)
            while len(held) >= 4:
                size, at = held[1] & 127, 2
                if size == 126:
                    size, at = int.from_bytes(held[2:4], "big"), 4
                if len(held) < at + size:
                    break
                message, opcode = held[at : at + size], held[0] & 15
                held = held[at + size :]
                if opcode == 2:
                    into.frames.append((*unpack(message), message))
                elif opcode == 1:
                    into.texts.append(parse(message))


def test_a_client_that_does_not_answer_pings_is_dropped_and_may_come_back() -> None:
    async def test() -> None:
        async with serving(Limits(ping_seconds=0.3)) as rig, client(rig) as good:
            opened = await good.ask("open", scene="low")
            dead = await stalled(rig, opened["session"])
            await eventually(lambda: rig.metrics.value("safa_listeners") == 2)
            await eventually(lambda: rig.metrics.value("safa_listeners") == 1)
            async with client(rig) as back:
                assert (await back.ask("join", session=opened["session"], **{"from": 0}))["resumed_from"] == 1
            await good.hear(20)
            assert_whole(good)
            dead.close()

    with quiet_log():
        run(test())


def test_who_comes_back_may_take_its_time() -> None:
    """Far more waits for it than a listener may fall behind, and it does not read for longer than that either."""

    async def test() -> None:
        limits = Limits(queue_seconds=0.3, write_bytes=16 * 1024)
        async with serving(limits) as rig, client(rig) as good:
            opened = await good.ask("open", scene="low")
            await good.hear(100)
            back = await stalled(rig, opened["session"], **{"from": 9})
            await eventually(lambda: rig.metrics.value("safa_listeners") == 2)
            await good.hear(140)
            heard = Raw.__new__(Raw)
            heard.frames, heard.texts = [], []
            await read_on(back, heard, 130)
            assert heard.frames[0][0].sequence == 10 and not any(t["type"] == "dropped" for t in heard.texts)
            assert_whole(heard)
            back.close()

    with quiet_log():
        run(test())


def test_credits_drive_a_pull_session() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one, client(rig) as guest:
            opened = await one.ask("open", scene="low", pacing="pull")
            assert opened["credit"] == 0
            await guest.ask("join", session=opened["session"], token=opened["token"], control=True)
            await asyncio.sleep(0.3)
            assert not one.frames
            await one.ask("grant", samples=10 * BLOCK)
            await one.hear(10)
            await asyncio.sleep(0.2)
            await one.ask("ping", client_clock=0)
            assert len(one.frames) == 10
            # Two grants of half a block are a block.
            await one.ask("grant", samples=BLOCK // 2)
            await one.ask("grant", samples=BLOCK // 2)
            await one.hear(11)
            refused = await guest.ask("grant", samples=BLOCK)
            assert refused["code"] == "refused" and "drive" in refused["reason"]
            # Eight seconds of sound, as fast as they are made.
            await one.ask("grant", samples=400 * BLOCK)
            await one.hear(411)
            assert_whole(one)
            await guest.hear(411)
            assert_whole(guest)

    with quiet_log():
        run(test())


def test_the_next_controlling_client_takes_the_credits_over() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as second:
            async with client(rig) as first:
                opened = await first.ask("open", scene="low", pacing="pull")
                await second.ask("join", session=opened["session"], token=opened["token"], control=True)
                await first.ask("grant", samples=5 * BLOCK)
                await first.hear(5)
            await eventually(lambda: rig.metrics.value("safa_listeners") == 1)
            assert (await second.ask("grant", samples=5 * BLOCK))["type"] == "done"
            await second.hear(10)
            assert_whole(second)

    with quiet_log():
        run(test())


def test_a_puller_that_does_not_read_loses_nothing() -> None:
    """It granted a minute and stands still: generation waits for it, then goes on, and not one sample is missing."""

    async def test() -> None:
        limits = Limits(queue_seconds=0.5, write_bytes=16 * 1024)
        async with serving(limits) as rig, client(rig) as owner:
            opened = await owner.ask("open", scene="low", pacing="pull")
            raw = await stalled(rig, opened["session"], token=opened["token"], control=True)
            await eventually(lambda: rig.metrics.value("safa_listeners") == 2)
            await owner.socket.close()
            await eventually(lambda: rig.metrics.value("safa_listeners") == 1)
            station = rig.stations.all()[0]
            fanout = rig.hub.fanout(station)
            fanout.grant(fanout.listeners[0], 3000 * BLOCK)
            stopped = -1
            while stopped != station.position:
                stopped = station.position
                await asyncio.sleep(1.0)
            assert stopped < 400 * BLOCK
            heard = Raw.__new__(Raw)
            heard.frames, heard.texts = [], []
            await read_on(raw, heard, 500)
            assert_whole(heard)
            assert heard.frames[0][0].sequence == 0 and not any(t["type"] == "dropped" for t in heard.texts)
            raw.close()

    with quiet_log():
        run(test())


def test_encodings_of_a_session_have_a_bound() -> None:
    async def test() -> None:
        async with serving(Limits(encodings=2)) as rig, client(rig) as one, client(rig) as two, client(rig) as three:
            opened = await one.ask("open", scene="low")
            await two.ask("join", session=opened["session"], format="s16")
            refused = await three.ask("join", session=opened["session"], format="s24")
            assert refused["code"] == "refused" and "f32 48000 Hz x2, s16 48000 Hz x2" in refused["reason"]
            await two.socket.close()
            await eventually(lambda: rig.metrics.value("safa_listeners") == 1)
            assert (await three.ask("join", session=opened["session"], format="s24"))["type"] == "opened"
            await three.hear(3)

    with quiet_log():
        run(test())


def test_the_ring_keeps_within_its_bytes() -> None:
    async def test() -> None:
        async with serving(Limits(ring_bytes=100_000)) as rig, client(rig) as one:
            await one.ask("open", scene="low", pacing="pull")
            await one.ask("grant", samples=100 * BLOCK)
            await one.hear(100)
            assert rig.hub.fanout(rig.stations.all()[0]).ring_bytes <= 100_000

    run(test())


def test_listeners_of_a_session_have_a_bound() -> None:
    async def test() -> None:
        async with serving(Limits(listeners=2)) as rig, client(rig) as one, client(rig) as two, client(rig) as three:
            opened = await one.ask("open", scene="low")
            await two.ask("join", session=opened["session"])
            assert (await three.ask("join", session=opened["session"]))["code"] == "refused"

    run(test())
