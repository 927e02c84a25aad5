"""The OSC server over real sockets, in front of a real session."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
import pytest
from pythonosc.osc_message import OscMessage

from safa_server.blocks import Block
from safa_server.osc_reception import OscSettings
from safa_server.osc_sockets import UdpEndpoint
from safa_server.requests import OpenRequest
from safa_stream.session.messages import Applied, Event
from tests.server.osc_rig import RATE, Got, Peer, bundle, eventually, live, on_air, packet, peer, playing


@live
async def test_commands_are_answered_and_carried_out() -> None:
    async with on_air() as (server, station, _):
        with peer() as one:
            ask = one.ask
            assert await ask(server.port, "/safa/layer/0/gain", -6) == ("/safa/ok", ("/safa/layer/0/gain", 1))
            assert station.state()["layers"][0]["gain"] == -6.0
            assert await ask(server.port, "/safa/prompt", "hum", 2.0) == ("/safa/ok", ("/safa/prompt", 2))
            assert station.state()["layers"][0]["prompts"] == "hum"
            assert await ask(server.port, "/safa/layer/add", "wind") == ("/safa/ok", ("/safa/layer/add", 3))
            await one.send(server.port, packet("/safa/layer/*/mute", True))
            assert [await one.next(), await one.next()] == [("/safa/ok", ("/safa/layer/*/mute", n)) for n in (4, 5)]
            assert all(layer["mute"] for layer in station.state()["layers"])
            assert await ask(server.port, f"/safa/session/{station.id}/freeze") == (
                "/safa/ok",
                (f"/safa/session/{station.id}/freeze", 6),
            )
            assert station.state()["frozen"]
            address, (where, reason) = await ask(server.port, "/safa/layer/5/gain", 0.0)
            assert (address, where) == ("/safa/error", "/safa/layer/5/gain") and "layer 5" in reason
            address, (where, reason) = await ask(server.port, "/safa/session/none/freeze")
            assert (address, where) == ("/safa/error", "/safa/session/none/freeze") and "none" in reason
            address, (_, reason) = await ask(server.port, "/safa/steps", "many")
            assert address == "/safa/error" and "argument 1 (steps)" in reason


@live
async def test_play_pause_ping_and_state() -> None:
    async with on_air() as (server, station, _):
        await playing(station)
        with peer() as one:
            assert await one.ask(server.port, "/safa/pause") == ("/safa/ok", ("/safa/pause", 0))
            await asyncio.sleep(0.1)
            stood = station.position
            assert not station.playing
            address, (token, seconds, samples) = await one.ask(server.port, "/safa/ping", "t1")
            assert (address, token, seconds * RATE + samples) == ("/safa/pong", "t1", stood)
            await one.ask(server.port, "/safa/play")
            await playing(station, stood + RATE // 10)
            address, (session, text) = await one.ask(server.port, "/safa/state")
            state = json.loads(text)
            assert (address, session) == ("/safa/state", station.id)
            assert state["layers"][0]["prompts"] == "low, high:0.5" and state["playing"]
            _, (number, *_) = await one.ask(server.port, "/safa/ping", 7)
            assert number == 7


@live
async def test_a_bundle_is_carried_out_at_its_time_on_the_sample_clock() -> None:
    async with on_air() as (server, station, _):
        await playing(station, RATE)
        applied: dict[int, int] = {}
        blocks: list[Block] = []

        def heard(event: Event) -> None:
            if isinstance(event, Applied):
                applied[event.command] = event.position

        station.on_event(heard)
        station.on_block(blocks.append)
        with peer() as one:
            # The first messages make the server listen to the session's clock.
            await one.ask(server.port, "/safa/ping")
            await asyncio.sleep(0.3)
            due = time.time() + 0.5
            gain, mute = packet("/safa/layer/0/gain", -20.0, 0.0), packet("/safa/master/gain", -3)
            await one.send(server.port, bundle(due, gain, mute))
            assert [(await one.next())[1] for _ in range(2)] == [("/safa/layer/0/gain", 1), ("/safa/master/gain", 2)]
            await asyncio.sleep(0.1)
            await one.send(server.port, bundle(due, packet("/safa/master/gain", -6)))
            assert await one.next() == ("/safa/ok", ("/safa/master/gain", 3))
            await one.send(server.port, bundle(due + 0.2, packet("/safa/freeze")))
            assert await one.next() == ("/safa/ok", ("/safa/freeze", 4))
            await eventually(lambda: 4 in applied)
        # One time tag is one sample, in one bundle or in two.
        assert applied[1] == applied[2] == applied[3]
        # Commands are carried out on their sample; what is left is how late blocks were in the second before.
        assert applied[4] - applied[1] in range(round(0.2 * RATE) - 960, round(0.2 * RATE) + 961)
        # The session's clock as it was where nothing held its blocks up.
        begun = min(block.clock_ns / 1e9 - block.start / RATE for block in blocks)
        late = begun + applied[1] / RATE - (time.monotonic() - (time.time() - due))
        assert -0.03 < late < 0.1


@live
async def test_times_that_are_past_or_too_far() -> None:
    async with on_air() as (server, station, _):
        with peer() as one:
            for due in (None, time.time() - 100, -2_208_988_800.0):
                await one.send(server.port, bundle(due, packet("/safa/layer/0/gain", -6)))
                assert (await one.next())[0] == "/safa/ok"
            assert not station._live.session.state.waiting
            await one.send(server.port, bundle(time.time() + 61, packet("/safa/layer/0/gain", -6)))
            address, (where, reason) = await one.next()
            assert (address, where) == ("/safa/error", "/safa/layer/0/gain") and "60 s" in reason
            due = time.time() + 0.5
            await one.send(server.port, bundle(due, packet("/safa/pause")))
            assert await one.next() == ("/safa/ok", ("/safa/pause", 0))
            assert station.playing or time.time() > due
            await eventually(lambda: not station.playing)
            assert time.time() >= due - 0.005


@live
async def test_a_command_at_a_sample() -> None:
    async with on_air() as (server, station, _):
        await playing(station)
        with peer() as one:
            await one.ask(server.port, "/safa/subscribe", "", 0, 0)
            await one.send(server.port, packet("/safa/at", 0, RATE, "/safa/layer/0/gain", -6))
            # Events may come before the answer.
            assert (await one.until("/safa/ok"))[1] == ("/safa/at", 1)
            _, (seconds, samples, number, *_) = await one.until("/safa/event/applied")
            assert (seconds * RATE + samples, number) == (RATE // 960 * 960, 1)


@live
async def test_a_subscriber_is_told() -> None:
    async with on_air() as (server, station, _):
        await playing(station)
        with peer() as one:
            assert await one.ask(server.port, "/safa/subscribe", "", 0, 25) == ("/safa/ok", ("/safa/subscribe", 0))
            got: list[Got] = []
            while len(got) < 40:
                got.append(await one.next())
            statuses = [arguments for address, arguments in got if address == "/safa/status"]
            meters = [arguments for address, arguments in got if address == "/safa/meter"]
            assert len(statuses) > 5 and len(meters) > 5
            clock = [seconds * RATE + samples for _, seconds, samples, *_ in statuses]
            assert clock == sorted(clock) and clock[-1] > clock[0]
            assert statuses[0][0] == station.id and statuses[0][3] == 1 and statuses[0][5] == 1
            assert all(
                0 < rms <= peak < 1.5
                for left, right, *rest in meters[1:]
                for peak, rms in [(left, rest[0]), (right, rest[1])]
            )
            await one.send(server.port, packet("/safa/scene/save", "dusk"))
            _, (_, _, name, content) = await one.until("/safa/event/scene/saved")
            assert name == "dusk" and json.loads(content)["format"] == "safa-live-1"
            assert (await one.until("/safa/ok"))[1] == ("/safa/scene/save", 1)
            await one.send(server.port, packet("/safa/unsubscribe"))
            await one.until("/safa/ok")
            assert await one.silent()
            assert (await one.ask(server.port, "/safa/unsubscribe"))[0] == "/safa/error"
            assert len(server.subscribers) == 0


@live
async def test_meters_are_those_of_the_sound() -> None:
    async with on_air() as (server, station, _):
        with peer() as one:
            await one.ask(server.port, "/safa/subscribe", "", 0, 4)
            blocks: list[Block] = []
            station.on_block(blocks.append)
            await playing(station, RATE)
            meters, ends = [], []
            while len(meters) < 3:
                address, arguments = await one.next()
                if address == "/safa/meter":
                    meters.append(arguments)
                elif address == "/safa/status":
                    ends.append(arguments[1] * RATE + arguments[2])
            between = np.concatenate([b.samples for b in blocks if ends[-2] <= b.start < ends[-1]], axis=1)
        wanted = (*np.abs(between).max(axis=1), *np.sqrt((between.astype(np.float64) ** 2).mean(axis=1)))
        assert meters[-1] == pytest.approx(wanted, rel=1e-5)


@live
async def test_a_ring_buffer_is_written_with_the_sessions_sound() -> None:
    frames = 7_001
    async with on_air() as (server, station, _):
        with peer() as one, peer() as wrong:
            blocks: list[Block] = []
            station.on_block(blocks.append)
            assert (await one.ask(server.port, "/safa/audio/ring", "", 0, 3, frames))[0] in ("/b_setn", "/safa/ok")
            ring, wanted = np.full((frames, 2), np.nan, np.float32), np.zeros((frames, 2), np.float32)
            first, written = -1, 0
            while written < frames + 960:
                data = await one.raw()
                assert len(data) < 1280
                message = OscMessage(data)
                if message.address == "/safa/ok":
                    continue
                buffer, index, count, *values = message.params
                assert (message.address, buffer, count, index % 2) == ("/b_setn", 3, len(values), 0)
                ring[index // 2 : (index + count) // 2] = np.reshape(values, (-1, 2))
                first = index // 2 if written == 0 else first
                written += count // 2
            for bad in (("", 0, 3), ("", 0, 3, 4799), ("", 0, -1, frames)):
                address, (_, reason) = await wrong.ask(server.port, "/safa/audio/ring", *bad)
                assert address == "/safa/error" and "argument" in reason
        begun = next(index for index, block in enumerate(blocks) if block.start % frames == first)
        whole = np.concatenate([block.samples for block in blocks[begun:]], axis=1).T[:written]
        for offset, sample in enumerate(whole, int(blocks[begun].start)):
            wanted[offset % frames] = sample
        assert np.array_equal(ring, wanted)


@live
async def test_sound_as_blobs_is_the_sessions_sound() -> None:
    async with on_air() as (server, station, _):
        with peer() as one, peer() as other:
            blocks: list[Block] = []
            station.on_block(blocks.append)
            await one.ask(server.port, "/safa/audio/subscribe")
            await other.ask(server.port, "/safa/audio/subscribe", "", 0, "f32")
            sound: dict[str, list[tuple[int, int, bytes]]] = {"<i2": [], "<f4": []}
            for kind, who, count in (("<i2", one, 40), ("<f4", other, 80)):
                while len(sound[kind]) < count:
                    data = await who.raw()
                    assert len(data) < 1280
                    message = OscMessage(data)
                    assert message.address == "/safa/audio"
                    sequence, seconds, samples, blob = message.params
                    sound[kind].append((sequence, seconds * RATE + samples, blob))
            await one.send(server.port, packet("/safa/audio/unsubscribe"))
            await one.until("/safa/ok")
            assert (await other.ask(server.port, "/safa/audio/subscribe", "", 0, "mp3"))[0] in (
                "/safa/audio",
                "/safa/error",
            )
        whole = np.concatenate([block.samples for block in blocks], axis=1)
        for kind, packets in sound.items():
            sequences = [sequence for sequence, _, _ in packets]
            assert sequences == list(range(sequences[0], sequences[0] + len(packets)))
            start = packets[0][1] - blocks[0].start
            played = np.concatenate([np.frombuffer(blob, kind).reshape(-1, 2).T for _, _, blob in packets], axis=1)
            sent = whole[:, start : start + played.shape[1]]
            assert np.array_equal(
                played, np.round(np.clip(sent, -1, 1) * 32767).astype(kind) if kind == "<i2" else sent
            )
            assert [at for _, at, _ in packets] == list(
                range(packets[0][1], packets[0][1] + played.shape[1], played.shape[1] // len(packets))
            )


@live
async def test_another_port_of_the_same_host_hears_answers() -> None:
    """As Csound, oscsend and many programs need it: they send from one port and listen on another."""
    async with on_air() as (server, _, _):
        with peer() as one, peer() as other:
            assert (await one.ask(server.port, "/safa/subscribe", "localhost", other.port, 0))[0] == "/safa/ok"
            assert await other.next() == ("/safa/ok", ("/safa/subscribe", 0))
            await one.send(server.port, packet("/safa/layer/0/gain", -6))
            assert (await other.until("/safa/ok"))[1] == ("/safa/layer/0/gain", 1)
            await one.send(server.port, packet("/safa/layer/0/gain", "loud"))
            assert (await other.until("/safa/error"))[1][0] == "/safa/layer/0/gain"


@live
async def test_subscriptions_are_bounded_and_stay_with_the_sender() -> None:
    async with on_air(OscSettings(subscribers=2)) as (server, _, stations):
        with peer() as one:
            for host in ("10.1.2.3", "192.0.2.1", "example.org", "::1x"):
                address, (where, reason) = await one.ask(server.port, "/safa/subscribe", host, 9000)
                assert (address, where) == ("/safa/error", "/safa/subscribe") and "argument 1 (host)" in reason
            for port in (40_001, 40_002):
                assert (await one.ask(server.port, "/safa/subscribe", "", port, 0))[0] == "/safa/ok"
            assert (await one.ask(server.port, "/safa/subscribe", "", 40_002, 0))[0] == "/safa/ok"
            address, (_, reason) = await one.ask(server.port, "/safa/subscribe", "", 40_003)
            assert address == "/safa/error" and "2 subscribers" in reason
            for wrong in (("", -1), ("", 70_000), ("", "x"), (5, 9000), ("", 0, 51), ("", 0, "fast")):
                assert (await one.ask(server.port, "/safa/subscribe", *wrong))[0] == "/safa/error"
    async with on_air(OscSettings(other_hosts=True)) as (server, _, stations):
        with peer() as one:
            assert (await one.ask(server.port, "/safa/subscribe", "192.0.2.1", 9000, 0))[0] == "/safa/ok"


@live
async def test_subscribers_that_are_gone_are_dropped() -> None:
    async with on_air() as (server, station, stations):
        await playing(station)
        with peer() as one:
            gone = Peer()
            assert (await gone.ask(server.port, "/safa/subscribe", "", 0, 50))[0] == "/safa/ok"
            await one.ask(server.port, "/safa/subscribe", "", 0, 50)
            gone.close()
            for _ in range(100):
                if len(server.subscribers) == 1:
                    break
                await asyncio.sleep(0.03)
            assert len(server.subscribers) == 1
            server.subscribers.sweep(time.monotonic() + 500)
            assert len(server.subscribers) == 1
            server.subscribers.sweep(time.monotonic() + 601)
            assert len(server.subscribers) == 0


@live
async def test_a_lost_packets_report_does_not_cost_another_packet() -> None:
    """Linux reports it at the next use of the socket, which is somebody else's packet."""
    reported: list[Any] = []
    endpoint = await UdpEndpoint.open("127.0.0.1", 0, lambda data, sender: None, reported.append)
    with peer() as one, peer() as gone:
        gone.close()
        for number in range(10):
            endpoint.send(b"lost", "127.0.0.1", gone.port)
            endpoint.send(bytes([number]), "127.0.0.1", one.port)
        assert [await one.raw() for _ in range(10)] == [bytes([number]) for number in range(10)]
    if sys.platform == "linux":
        assert reported == [("127.0.0.1", gone.port)] * 10
    endpoint.close()


@live
async def test_a_closed_session_says_so() -> None:
    async with on_air() as (server, _, stations):
        other = await stations.open(OpenRequest("high"))
        with peer() as one:
            root = f"/safa/session/{other.id}"
            assert (await one.ask(server.port, f"{root}/subscribe", "", 0, 50))[0] == "/safa/ok"
            assert (await one.until(f"{root}/status"))[1][0] == other.id
            other.close()
            server.subscribers.sweep(time.monotonic())
            assert (await one.until(f"{root}/error"))[1] == (root, "the session is closed")
            assert len(server.subscribers) == 0
            assert (await one.ask(server.port, f"{root}/freeze"))[0] == "/safa/error"
