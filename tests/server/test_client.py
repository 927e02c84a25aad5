"""The Python client against a real server: what the README shows, resuming by itself, what it says when it cannot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from safa_server import client as client_module
from safa_server.client import Received, Refused, SafaClient
from safa_server.control import Close, GetProvenance, Grant, Pause, Ping
from safa_server.limits import Limits
from safa_server.security import Security
from safa_stream.errors import FailureError
from safa_stream.models.builtin.runtime import load_builtin
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import Mix, Prompt, Tempo
from tests.server.certificates import make_certificates
from tests.server.ws_rig import BLOCK, eventually, quiet_log, run, serving


async def take(client: SafaClient, count: int) -> list[Received]:
    frames = []
    async for frame in client:
        frames.append(frame)
        if len(frames) == count:
            break
    return frames


def test_open_listen_steer_and_close() -> None:
    async def test() -> None:
        async with serving() as rig, SafaClient.connect(rig.url) as client:
            opened = await client.open("low, high:0.5", format="s16")
            frames = await take(client, 20)
            assert [frame.header.start for frame in frames] == [n * BLOCK for n in range(20)]
            assert np.abs(frames[-1].samples()).max() > 1e-4
            number = await client.send(Prompt(prompts=parse_prompts("high"), now=True))
            await eventually(lambda: any(event["type"] == "applied" for event in client.events))
            assert next(event for event in client.events if event["type"] == "applied")["command"] == number
            assert (await client.state())["session"] == opened["session"]
            assert (await client.ask(Ping(client_clock=1)))["client_clock"] == 1
            assert (await client.ask(GetProvenance(number=frames[0].header.provenance)))["provenance"]
            with pytest.raises(Refused, match="layer 7") as caught:
                await client.send(Mix(layer=7, gain=0.0))
            assert caught.value.answer["code"] == "refused"
            await client.send(Close())
            rest = [frame async for frame in client]
            assert all(frame.lost == 0 for frame in rest) and client.lost == 0
            with pytest.raises(FailureError, match="closed"):
                await client.state()

    with quiet_log():
        run(test())


def test_pulling() -> None:
    async def test() -> None:
        async with serving() as rig, SafaClient.connect(rig.url) as client:
            await client.open("low", pacing="pull", rate=44_100, channels=1, format="s24")
            await client.send(Grant(samples=20 * BLOCK))
            frames = await take(client, 10)
            assert frames[3].samples().shape == (1, 882)

    with quiet_log():
        run(test())


def test_frames_carry_beat_time_where_it_is_asked_for() -> None:
    """Each frame by itself: across a change of tempo, whoever listens, with events or without."""

    async def test() -> None:
        async with serving() as rig, SafaClient.connect(rig.url) as client, SafaClient.connect(rig.url) as plain:
            opened = await client.open("low", pacing="pull")
            await plain.join(opened["session"], header=1)
            rate, delay = opened["session_rate"], opened["state"]["delay"]
            await client.send(Tempo(bpm=150.0, beats_per_bar=3.0, at=5 * BLOCK + 7))
            await client.send(Grant(samples=12 * BLOCK))
            for frame, same in zip(await take(client, 10), await take(plain, 10), strict=True):
                assert (frame.payload, frame.header.start) == (same.payload, same.header.start)
                assert (frame.header.version, same.header.version) == (2, 1)
                since = (frame.header.start - delay - 5 * BLOCK - 7) / rate
                beat = (5 * BLOCK + 7) / rate * 2 + since * (2.5 if since >= 0 else 2.0)
                time = frame.header.time
                assert time is not None and same.header.time is None and time.beat == pytest.approx(beat, abs=1e-9)
                assert time.bpm == (150.0 if since >= 0 else 120.0)
            told = next(event for event in client.events if event["type"] == "tempo")
            assert (told["position"], told["bpm"], told["beats_per_bar"]) == (5 * BLOCK + 7, 150.0, 3.0)
            assert (await client.state())["tempo"]["beats_per_bar"] == 3.0

    with quiet_log():
        run(test())


def test_a_host_gets_what_it_grants_even_if_the_engine_is_late() -> None:
    async def test() -> None:
        async with serving() as rig, SafaClient.connect(rig.url) as client:
            opened = await client.open("low", pacing="host", lead=2.0)
            assert opened["pacing"] == "host"
            await client.send(Grant(samples=10 * BLOCK))
            await take(client, 10)
            rig.stations.runner.stop()
            # More than is ready, and nobody makes more.
            await client.send(Grant(samples=20 * 48_000))
            frames = await take(client, 20 * 48_000 // BLOCK)
            assert all(frame.lost == 0 for frame in frames)
            assert any(event["type"] == "bed.began" for event in client.events)

    with quiet_log():
        run(test())


def test_broken_connections_are_taken_up_again_without_a_missing_sample() -> None:
    async def test() -> None:
        async with serving() as rig, SafaClient.connect(rig.url) as client, SafaClient.connect(rig.url) as witness:
            opened = await client.open("low")
            await witness.join(opened["session"])
            heard = await take(client, 10)
            for _ in range(3):
                assert client._socket.transport is not None
                client._socket.transport.abort()
                heard += await take(client, 15)
            await client.send(Pause())
            reference = {frame.header.sequence: frame.payload for frame in await take(witness, 40)}
            assert client.resumed == 3 and client.lost == 0
            assert [frame.header.sequence for frame in heard] == list(range(55))
            shared = [frame for frame in heard if frame.header.sequence in reference]
            assert len(shared) > 30 and all(frame.payload == reference[frame.header.sequence] for frame in shared)

    with quiet_log():
        run(test())


def test_what_is_left_of_grants_is_known_after_a_broken_connection() -> None:
    """A grant may have been lost on the way: the server says what it knows of."""

    async def test() -> None:
        async with serving() as rig, SafaClient.connect(rig.url) as client:
            await client.open("low", format="s16", pacing="pull")
            await client.send(Grant(samples=100 * BLOCK))
            await take(client, 10)
            client._socket.transport.abort()
            await take(client, 20)
            assert client.resumed == 1
            assert client.opened["position"] + client.opened["credit"] == 100 * BLOCK

    with quiet_log():
        run(test())


def test_a_session_that_is_gone_is_an_error_in_one_line() -> None:
    async def test() -> None:
        async with serving(Limits(resume_seconds=5)) as rig, SafaClient.connect(rig.url) as client:
            await client.open("low")
            await take(client, 3)
            await rig.stations.drain()
            assert client._socket.transport is not None
            client._socket.transport.abort()
            with pytest.raises(FailureError, match="cannot be resumed: there is no session"):
                async for _ in client:
                    pass

    with quiet_log():
        run(test())


def test_a_server_that_is_gone_is_an_error_in_one_line() -> None:
    async def test() -> None:
        async with serving(Limits(resume_seconds=0.5)) as rig:
            connecting = SafaClient.connect(rig.url)
            client = await connecting.__aenter__()
            await client.open("low")
        with pytest.raises(FailureError, match="cannot be reached"):
            while True:
                await client.__anext__()
        await connecting.__aexit__(None, None, None)
        with pytest.raises(FailureError, match="cannot connect to"):
            async with SafaClient.connect(rig.url):
                pass

    run(test())


def test_tokens_and_tls(tmp_path: Path) -> None:
    async def test() -> None:
        made = make_certificates(tmp_path)
        security, trust = Security.of("0.0.0.0", "a-long-token"), made.client_context()
        async with serving(security=security, tls=made.server_context()) as rig:
            async with SafaClient.connect(rig.url, "a-long-token", trust) as client:
                await client.open("low")
                assert len(await take(client, 5)) == 5
            with pytest.raises(FailureError, match="401"):
                async with SafaClient.connect(rig.url, "another-token", trust):
                    pass
            async with SafaClient.connect(rig.url, None, trust) as client:
                with pytest.raises(Refused, match="token"):
                    await client.open("low")
            async with SafaClient.connect(rig.url, None, trust) as client:
                await client.open("low", token="a-long-token")
            with pytest.raises(FailureError, match="cannot connect"):
                async with SafaClient.connect(rig.url):
                    pass

    with quiet_log():
        run(test())


def test_the_built_in_model_is_heard() -> None:
    async def test() -> None:
        async with serving(model=load_builtin(), layers=4) as rig, SafaClient.connect(rig.url) as client:
            await client.open("rain")
            frames = await take(client, 15)
            sound = np.concatenate([frame.samples() for frame in frames], axis=1)
            assert sound.shape == (2, 15 * BLOCK) and 1e-3 < np.abs(sound[:, BLOCK:]).max() <= 1
            assert (await client.state())["model"] == "builtin"

    with quiet_log():
        run(test())


def test_the_client_stays_small() -> None:
    assert len(Path(client_module.__file__).read_text().splitlines()) < 200


def test_the_client_waits_for_nobody() -> None:
    """Frames that nobody reads do not hold up answers."""

    async def test() -> None:
        async with serving() as rig, SafaClient.connect(rig.url) as client:
            await client.open("low", pacing="pull")
            await client.send(Grant(samples=200 * BLOCK))
            async with asyncio.timeout(45):
                while (await client.state())["position"] < 200 * BLOCK:
                    await asyncio.sleep(0.05)
            assert len(await take(client, 200)) == 200

    with quiet_log():
        run(test())
