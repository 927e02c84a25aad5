"""The Lyria RealTime endpoint on real sockets: Google's own unmodified client over TLS, and raw messages."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from safa_server.connection import Connection
from safa_server.encoding import as_s16
from safa_server.http import Http
from safa_server.hub import Hub
from safa_server.limits import Limits
from safa_server.lyria_socket import LyriaSettings, Outbox, lyria_route, serve_lyria
from safa_server.metrics import Registry
from safa_server.runner import Runner
from safa_server.security import Security, tls_context
from safa_server.stations import Stations
from safa_server.tenants.book import Revocation
from safa_server.tenants.book_file import revoke
from safa_server.websocket import Front
from safa_stream.models.builtin.runtime import load_builtin
from tests.server.certificates import make_certificates
from tests.server.tenants_rig import Tenancy

KEY = "a-key-for-tests"
ADDRESS = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateMusic"
SETUP = {"setup": {"model": "models/lyria-realtime-exp"}}
PLAY = {"playbackControl": "PLAY"}
RAIN = {"clientContent": {"weightedPrompts": [{"text": "rain", "weight": 1}]}}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """The engine with the built-in model."""
    made = Runner(load_builtin(), largest_layers=4)
    made.start()
    yield made
    made.stop()


def whole_server(stations: Stations) -> Front:
    """The server's port with the endpoint on it; the key is the server's token."""
    security, metrics = Security.of("127.0.0.1", KEY), Registry()
    pages = Http(stations, security, metrics, Path("nowhere"), lambda: None, lambda: {})
    route = lyria_route(stations, LyriaSettings())
    hub = Hub(stations, security, Limits(), metrics)
    return Front(hub, pages, lambda socket, who: Connection(socket, hub, who), [route])


@asynccontextmanager
async def serving(stations: Stations, settings: LyriaSettings) -> AsyncIterator[int]:
    """The endpoint alone, on a port of its own."""
    async with serve(
        lambda connection: serve_lyria(connection, stations, settings), "127.0.0.1", 0, compression=None
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1]
        await stations.drain()


def test_googles_own_client_plays(runner: Runner, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    left: list[bytes] = []

    async def listen_in(stations: Stations) -> None:
        """What the sessions themselves let go."""
        seen: set[str] = set()
        while True:
            for station in stations.all():
                if station.id not in seen:
                    seen.add(station.id)
                    station.on_block(lambda block: left.append(as_s16(block.samples)))
            await asyncio.sleep(0.005)

    async def perform() -> tuple[int | None, str]:
        stations = Stations(runner)
        listening = asyncio.create_task(listen_in(stations))
        tls = tls_context(certificates.certificate, certificates.key)
        async with whole_server(stations).listen("127.0.0.1", 0, tls) as port:
            client = await asyncio.create_subprocess_exec(
                sys.executable,
                str(Path(__file__).with_name("lyria_client.py")),
                f"https://localhost:{port}/",
                "v1alpha",
                KEY,
                str(tmp_path),
                env={"PATH": os.environ["PATH"], "SSL_CERT_FILE": str(certificates.authority)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                said, _ = await asyncio.wait_for(client.communicate(), 60)
            finally:
                if client.returncode is None:
                    client.kill()
            assert not stations.all(), "a session outlived its client"
        listening.cancel()
        return client.returncode, said.decode()

    status, said = asyncio.run(perform())
    assert status == 0, said
    report = json.loads((tmp_path / "report.json").read_text())
    pcm = (tmp_path / "sound.pcm").read_bytes()
    marks, chunks = report["marks"], report["chunks"]
    assert "played again" in marks, report["ended"]
    assert report["ended"].strip() == "APIError('1000 None. ')", "the client's own word for an orderly close"
    assert report["other"] == 0

    # Every sample of both sessions came, once and in order, but for what was under way at STOP and at the end.
    sound = np.frombuffer(pcm, "<i2").reshape(-1, 2).astype(np.float32) / 2**15
    assert b"".join(left).startswith(pcm) and len(b"".join(left)) - len(pcm) < 0.5 * 192_000
    assert {chunk["mime"] for chunk in chunks} == {"audio/l16;rate=48000;channels=2"}
    assert max(chunk["samples"] for chunk in chunks) == 9600
    loudness = [np.sqrt(np.mean(sound[at : at + 9600] ** 2)) for at in range(0, len(sound) - 9600, 9600)]
    assert min(loudness) > 0.003, "nowhere silent"

    # It says what it plays; the prompt that means nothing is filtered.
    (filtered,) = report["filtered"]
    assert filtered["text"] == "zxqvw" and "zxqvw" in filtered["filtered_reason"]
    assert chunks[0]["prompts"] == [["Rain on a tent, close", 1.0]]
    assert chunks[0]["config"] == {"bpm": 90, "temperature": 1.0, "seed": 7, "guidance": 4.0}
    assert {"brightness": 0.5, "bpm": 90}.items() <= chunks[-1]["config"].items(), "a partial change keeps the rest"
    mixed = [dict(chunk["prompts"]) for chunk in chunks if len(chunk["prompts"]) == 2]
    # What is told of a view is what its middle was made of, so a change may go by without a chunk that names both.
    assert all(set(prompts) == {"Rain on a tent, close", "crickets at night"} for prompts in mixed)
    assert [text for text, _ in chunks[-1]["prompts"]] == ["crickets at night"]
    assert [prompts["crickets at night"] for prompts in mixed] == sorted(p["crickets at night"] for p in mixed)

    # The change is heard, and without a click: no step is larger than the rain's own.
    low_before, low_after = (
        low_share(part(sound, *span)) for span in ((0, 1.4), (marks["paused"] - 0.5, marks["paused"]))
    )
    assert low_after < 0.5 * low_before, "crickets have less below 500 Hz than rain"
    steps = np.abs(np.diff(sound, axis=0)).max(axis=1)
    around = part(steps, marks["steered"], marks["paused"])
    assert around.max() < 2 * part(steps, 0, marks["steered"]).max()

    # Pausing, resetting and stopping.
    assert marks["paused"] == marks["still paused"] and marks["stopped"] == marks["still stopped"]
    across = part(steps, marks["paused"] - 0.001, marks["paused"] + 0.001)
    assert across.max() < 2 * part(steps, marks["paused"] - 0.3, marks["paused"] - 0.001).max(), (
        "it goes on where it was"
    )
    seeds = list(dict.fromkeys(chunk["config"]["seed"] for chunk in chunks))
    assert seeds[0] == 7 and len(seeds) == 2, "a reset takes another seed, starting again the one that was set"
    assert chunks[-1]["config"]["seed"] == 7 and chunks[-1]["prompts"] == [["crickets at night", 2.0]]


def part(values: Any, start: float, stop: float) -> Any:
    """From one second to another."""
    return values[round(start * 48_000) : round(stop * 48_000)]


def low_share(sound: Any) -> float:
    """The share of a sound's power below 500 Hz."""
    power = np.abs(np.fft.rfft(sound.mean(axis=1))) ** 2
    return float(power[: int(500 * len(sound) / 48_000)].sum() / power.sum())


class Client:
    """Raw messages."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def tell(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self.socket.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            message: dict[str, Any] = json.loads(await self.socket.recv())
        return message

    async def chunk(self) -> tuple[Any, dict[str, Any]]:
        """The next chunk's samples [N, 2] and its whole message."""
        message = await self.hear()
        (chunk,) = message["serverContent"]["audioChunks"]
        return np.frombuffer(base64.b64decode(chunk["data"]), "<i2").reshape(-1, 2) / 2**15, message

    async def closing(self) -> tuple[int, str]:
        """Code and reason with which the server ends it, whatever comes before."""
        try:
            while True:
                await self.hear()
        except ConnectionClosed as end:
            assert end.rcvd is not None
            return end.rcvd.code, end.rcvd.reason


def converse(
    stations: Stations,
    talk: Callable[[Client], Awaitable[None]],
    address: str = ADDRESS,
    **settings: Any,
) -> None:
    """One client's talk with the endpoint."""

    async def run() -> None:
        async with serving(stations, LyriaSettings(**settings)) as port:
            async with connect(f"ws://127.0.0.1:{port}{address}", proxy=None) as socket:
                await talk(Client(socket))

    asyncio.run(run())


def test_the_servers_port_asks_for_the_key(runner: Runner) -> None:
    async def knock() -> None:
        async with whole_server(Stations(runner)).listen("127.0.0.1", 0) as port:
            address = f"ws://127.0.0.1:{port}/{ADDRESS}"
            for key, query in (("wrong", ""), ("", ""), ("", "?key=wrong")):
                headers = {"x-goog-api-key": key} if key else {}
                with pytest.raises(InvalidStatus) as caught:
                    await connect(address + query, additional_headers=headers, proxy=None)
                assert caught.value.response.status_code == 401
            async with connect(f"{address}?key={KEY}", proxy=None) as socket:
                client = Client(socket)
                await client.tell(SETUP)
                assert await client.hear() == {"setupComplete": {}}

    asyncio.run(knock())


def test_the_key_may_stand_in_the_address(runner: Runner) -> None:
    async def talk(client: Client) -> None:
        await client.tell(SETUP)
        assert await client.hear() == {"setupComplete": {}}

    converse(Stations(runner), talk, f"/{ADDRESS}?key={KEY}")


def test_a_tenants_key_plays_the_tenants_session(runner: Runner, tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path, sessions=1)

    async def play() -> None:
        stations, metrics = Stations(runner, tenants=tenancy.security.tenants), Registry()
        pages = Http(stations, tenancy.security, metrics, Path("nowhere"), lambda: None, lambda: {})
        hub = Hub(stations, tenancy.security, Limits(), metrics)
        token, id = tenancy.issued("a")
        routes = [lyria_route(stations, LyriaSettings())]
        front = Front(hub, pages, lambda socket, who: Connection(socket, hub, who), routes)
        async with front.listen("127.0.0.1", 0) as port:
            address = f"ws://127.0.0.1:{port}{ADDRESS}?key="
            async with connect(address + token, proxy=None) as one, connect(address + token, proxy=None) as two:
                await Client(one).tell(SETUP, RAIN, PLAY)
                while not stations.all():
                    await asyncio.sleep(0.01)
                assert [station.tenant for station in stations.all()] == ["a"]
                await Client(two).tell(SETUP, RAIN, PLAY)
                await two.wait_closed()
                assert two.close_code == 1013 and "quota 'sessions'" in str(two.close_reason)
                revoke(tenancy.path, Revocation(id=id))
                await one.wait_closed()
                assert (one.close_code, one.close_reason) == (1008, "the token was revoked")
                while stations.all():
                    await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(play(), 60))


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([PLAY], "the first message must be setup"),
        ([SETUP, SETUP], "setup comes once"),
        ([SETUP, {"clientContent": {"weightedPrompts": [{"text": "rain", "weight": 0}]}}], "must not be all 0"),
        ([SETUP, {"clientContent": {"weightedPrompts": [{"text": "rain", "weight": -1}]}}], "above 0"),
        ([SETUP, {"musicGenerationConfig": {"scale": "H" * 500}}], "scale must be one of"),
        ([SETUP, {"audio": 1}], "unknown field 'audio'"),
    ],
)
def test_a_bad_message_ends_it_with_a_reason(runner: Runner, messages: list[dict[str, Any]], reason: str) -> None:
    async def talk(client: Client) -> None:
        await client.tell(*messages)
        code, said = await client.closing()
        assert code == 1007 and reason in said and len(said.encode()) <= 123

    stations = Stations(runner)
    converse(stations, talk)
    assert not stations.all()


def test_no_setup_in_time(runner: Runner) -> None:
    async def talk(client: Client) -> None:
        assert await client.closing() == (1008, "no setup within 0.1 s")

    converse(Stations(runner), talk, setup_seconds=0.1)


def test_a_full_server_says_when_to_come_again(runner: Runner) -> None:
    async def talk(client: Client) -> None:
        await client.tell(SETUP, RAIN, PLAY)
        code, reason = await client.closing()
        assert code == 1013 and "try again in" in reason

    converse(Stations(runner, largest=0), talk)


def test_playing_and_steering_with_raw_messages(runner: Runner) -> None:
    """PLAY waits for prompts; brightness acts at once; what has no meaning is warned of once, with the sound."""
    stations = Stations(runner)
    nonsense = {"clientContent": {"weightedPrompts": [{"text": "zxqvw", "weight": 1}]}}
    strange = {"clientContent": {"weightedPrompts": [{"text": "rain qqxzw", "weight": 1, "color": "#9900ff"}]}}

    async def talk(client: Client) -> None:
        await client.tell(SETUP, {"music_generation_config": {"bpm": 90, "brightness": 1}}, PLAY, nonsense)
        assert await client.hear() == {"setupComplete": {}}
        assert (await client.hear())["filteredPrompt"]["text"] == "zxqvw"
        assert not stations.all()
        await client.tell(strange)
        samples, message = await client.chunk()
        for named in ("PLAY without prompts", "bpm", "'color'", "'qqxzw'"):
            assert named in message["warning"]
        seed = message["serverContent"]["audioChunks"][0]["sourceMetadata"]["musicGenerationConfig"]["seed"]
        assert 0 <= seed < 2**31
        bright = [samples, *[(await client.chunk())[0] for _ in range(3)]]
        await client.tell({"musicGenerationConfig": {"brightness": 0, "bpm": 100}})
        chunks = [await client.chunk() for _ in range(6)]
        assert not any("warning" in message for _, message in chunks)
        fall = high_level(np.concatenate(bright)) - high_level(np.concatenate([samples for samples, _ in chunks[-3:]]))
        assert 18 < fall < 30, "24 dB between brightness 1 and 0"
        await client.tell(nonsense)
        assert "filteredPrompt" in await past_sound(client)
        assert len(stations.all()) == 1, "the prompts before it play on"

    converse(stations, talk)
    assert not stations.all()


def test_the_client_hears_of_a_session_that_ends(runner: Runner) -> None:
    stations = Stations(runner)

    async def talk(client: Client) -> None:
        await client.tell(SETUP, RAIN, PLAY)
        assert await client.hear() == {"setupComplete": {}}
        await client.chunk()
        stations.all()[0].close()
        assert await client.closing() == (1001, "the server has ended the session")

    converse(stations, talk)


def test_a_slow_client_costs_no_memory() -> None:
    async def fill() -> None:
        outbox = Outbox(largest=3)
        assert [outbox.put_sound(f"sound {number}") for number in range(5)] == [True, True, True, False, False]
        outbox.put_other("filtered")
        assert outbox.dropped == 2
        taken = [outbox.take() for _ in range(5)]
        assert taken == ["filtered", "sound 2", "sound 3", "sound 4", None]
        for number in range(1000):
            outbox.put_other(str(number))
        assert len(outbox.other) == 256

    asyncio.run(fill())


async def past_sound(client: Client) -> dict[str, Any]:
    """The next message that is not sound."""
    while "serverContent" in (message := await client.hear()):
        pass
    return message


def high_level(sound: Any) -> float:
    """dB of a sound's power above 8 kHz, a second."""
    power = np.abs(np.fft.rfft(sound.mean(axis=1) * np.hanning(len(sound)))) ** 2
    return float(10 * np.log10(power[int(8000 * len(sound) / 48_000) :].sum() / len(sound) ** 2))
