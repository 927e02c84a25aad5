"""`safa-stream serve` as a process: started, killed, started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
import soundfile

from safa_server.client import Refused, SafaClient
from safa_server.control import Open
from safa_stream.scene import parse_prompts
from safa_stream.session import messages as m
from tests.server.osc_rig import Wire, packet, peer

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "import sys; from safa_stream.cli.main import main; sys.exit(main())"]


@contextmanager
def server(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A server that takes connections, and its ready file; ended with the context."""
    ready = folder / "ready.json"
    paths = os.pathsep.join(str(ROOT / name) for name in (".", "server", "exporters"))
    process = subprocess.Popen(
        [
            *COMMAND,
            "serve",
            "--port",
            "0",
            "--osc-port",
            "0",
            "--ready-file",
            str(ready),
            "--drain-seconds",
            "1",
            *flags,
        ],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 90
        while not ready.exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, "the server did not get ready"
            time.sleep(0.05)
        yield process, json.loads(ready.read_text())
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        ready.unlink(missing_ok=True)


def url(address: dict[str, Any]) -> str:
    return f"ws://{address['host']}:{address['port']}/ws"


async def listen(client: SafaClient, seconds: float) -> np.ndarray:
    """[2, N] of the next frames."""
    parts, samples = [], 0
    async for frame in client:
        parts.append(frame.samples())
        samples += parts[-1].shape[1]
        if samples >= seconds * 48_000:
            break
    return np.concatenate(parts, axis=1)


def test_a_killed_server_goes_on_with_its_sessions(tmp_path: Path) -> None:
    state, heard = tmp_path / "state", list[np.ndarray]()

    async def before(address: dict[str, Any]) -> tuple[dict[str, Any], int]:
        async with SafaClient.connect(url(address)) as client:
            opened = await client.open("rain on a tent", lead=3.0)
            await client.send(m.Configure(steps=4))
            await client.send(m.AddLayer(prompts=parse_prompts("birds"), seed=2))
            heard.append(await listen(client, 6.0))
            await client.send(m.Mix(layer=0, gain=-6.0))
            heard.append(await listen(client, 2.0))
            assert client.last is not None
            return opened, client.last.sequence

    async def after(address: dict[str, Any], opened: dict[str, Any], last: int) -> dict[str, Any]:
        async with SafaClient.connect(url(address)) as client:
            await client.join(opened["session"], opened["token"], control=True, from_=last)
            heard.append(await listen(client, 2.0))
            assert client.lost == 0
            return await client.state()

    with server(tmp_path, "--state", str(state), "--layers", "2") as (process, address):
        opened, last = asyncio.run(before(address))
        process.send_signal(signal.SIGKILL)
        process.wait()
    with server(tmp_path, "--state", str(state), "--layers", "2", "--restore") as (process, address):
        described = asyncio.run(after(address, opened, last))
        assert [layer["prompts"] for layer in described["layers"]] == ["rain on a tent", "birds"]
        assert described["layers"][0]["gain"] == -6.0 and described["steps"] == 4
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    # A server that is asked to stop leaves what a later one can go on with, and the whole performance.
    assert (state / opened["session"] / "snapshot.safetensors").exists()
    out = tmp_path / "again.wav"
    done = subprocess.run(
        [*COMMAND, "replay", str(state / opened["session"] / "journal.jsonl"), "--out", str(out), "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / n) for n in (".", "server"))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    sound, rate = soundfile.read(out)
    assert rate == 48_000 and abs(len(sound) / rate - told["seconds"]) < 1e-6
    assert told["seconds"] > 9 and told["commands"] == 3
    # Who came back lost nothing and heard nothing twice: all of it is what the journal makes again.
    listened = np.concatenate(heard, axis=1)
    sound, _ = soundfile.read(out, dtype="float32")
    wrong = np.flatnonzero((listened != sound.T[:, : listened.shape[1]]).any(0))
    assert not len(wrong), f"sample {wrong[0]} and {len(wrong) - 1} more of {listened.shape[1]} differ"


def test_the_server_ends_cleanly_and_tells_its_clients(tmp_path: Path) -> None:
    async def use(process: subprocess.Popen[str], address: dict[str, Any]) -> list[str]:
        async with SafaClient.connect(url(address)) as client:
            await client.open("campfire", lead=2.0)
            await listen(client, 0.5)
            process.send_signal(signal.SIGTERM)
            while process.poll() is None and "closing" not in [event["type"] for event in client.events]:
                await asyncio.sleep(0.05)
            return [event["type"] for event in client.events]

    with server(tmp_path) as (process, address):
        assert "closing" in asyncio.run(use(process, address))
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert "Traceback" not in process.stdout.read()


def test_a_clients_session_ends_at_its_time_and_the_servers_own_goes_on(tmp_path: Path) -> None:
    async def use(address: dict[str, Any]) -> None:
        async with SafaClient.connect(url(address)) as visitor, SafaClient.connect(url(address)) as keeper:
            await keeper.join(address["session"])
            await visitor.open("campfire", lead=2.0)
            heard = [frame async for frame in visitor]
            # Its clock begins once the first view is made, which takes some of the time.
            assert heard and heard[-1].header.start < 7 * 48_000
            assert visitor.events[-1] == {
                "type": "closing",
                "reason": "its time is over: sessions last 6 s on this server",
            }
            await listen(keeper, 1.0)

    flags = ("--session-seconds", "6", "--prompt", "rain", "--layers", "2")
    with server(tmp_path, *flags) as (_, address):
        asyncio.run(use(address))


def test_beyond_loopback_a_link_to_listen_stands_beside_a_token_that_is_made_up(tmp_path: Path) -> None:
    async def use(address: dict[str, Any]) -> None:
        link = dict(parse_qsl(urlsplit(address["listen_url"]).fragment))
        assert link == {"session": address["session"], "token": "only-for-the-ears"}
        async with SafaClient.connect(url(address), link["token"]) as listener:
            await listener.join(link["session"])
            await listen(listener, 0.5)
            for message in (m.Mix(gain=-6.0), Open(scene="campfire")):
                with pytest.raises(Refused) as caught:
                    await listener.ask(message)
                assert caught.value.answer["code"] == "listen_only"
        async with SafaClient.connect(url(address), address["token"]) as visitor:
            assert (await visitor.open("campfire", lead=2.0))["listen_token"] == link["token"]

    flags = ("--host", "0.0.0.0", "--listen-token", "only-for-the-ears", "--prompt", "rain", "--layers", "2")
    with server(tmp_path, *flags, "--no-announce") as (_, address):
        asyncio.run(use(address))


def test_osc_is_framed_and_sent_on_as_the_settings_say(tmp_path: Path) -> None:
    async def use(address: dict[str, Any]) -> None:
        with peer() as one:
            # An address for documents: nobody is there.
            answer = await one.ask(address["osc_port"], "/safa/subscribe", "192.0.2.1", 9000, 0)
            assert answer[0] == "/safa/ok"
        right = await Wire.to(address["osc_tcp_port"], "length")
        right.send(packet("/safa/layer/0/gain", -6))
        assert (await right.next())[0] == "/safa/ok"
        wrong = await Wire.to(address["osc_tcp_port"], "slip")
        wrong.send(packet("/safa/layer/0/gain", -6))
        assert await wrong.ended()
        for wire in (right, wrong):
            await wire.close()

    flags = ("--osc-tcp-port", "0", "--osc-framing", "length", "--osc-other-hosts", "--prompt", "rain", "--layers", "1")
    with server(tmp_path, *flags) as (_, address):
        asyncio.run(use(address))


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--host", "0.0.0.0", "--token", "short"], "at least 8 characters"),
        (["--token", "a-long-token", "--listen-token", "a-long-token"], "token and listen token must differ"),
        (["--listen-token", "a-long-token"], "a listen token needs a token beside it"),
        (["--tls-cert", "/nowhere.pem"], "/nowhere.pem is not a file"),
        (["--port", "70000"], "'port' must be a port"),
        (["--scene", "/nowhere.json"], "cannot read the scene /nowhere.json"),
        (["--osc-framing", "cobs"], "'osc_framing' must be auto, slip or length"),
        (["--restore"], "'restore' needs 'state'"),
        (["--state", "/proc/nowhere"], "cannot keep sessions in /proc/nowhere"),
        (["--model", "/nowhere"], "/nowhere"),
    ],
)
def test_what_a_server_cannot_be_is_said_in_one_line(flags: list[str], said: str) -> None:
    paths = os.pathsep.join(str(ROOT / name) for name in (".", "server"))
    done = subprocess.run(
        [*COMMAND, "serve", "--osc-port", "-1", *(flags if "--port" in flags else ["--port", "0", *flags])],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("safa-stream:")]) == 1


def test_a_loop_that_cannot_be_made_is_refused_and_nothing_else(tmp_path: Path) -> None:
    async def use(address: dict[str, Any]) -> list[dict[str, Any]]:
        async with SafaClient.connect(url(address)) as client:
            await client.open("rain", lead=2.0)
            await client.send(m.Configure(steps=2))
            await listen(client, 9.0)
            for _ in range(3):
                await client.send(m.Prompt(prompts=parse_prompts("wind"), now=True, morph=0.0))
                await client.send(m.CaptureLoop(seconds=8.5))
                await listen(client, 0.3)
            answers: list[dict[str, Any]] = []
            while len(answers) < 3 and client.last is not None and client.last.start < 40 * 48_000:
                await listen(client, 0.5)
                answers = [event for event in client.events if event["type"] in ("refused", "loop.ready")]
            return answers

    with server(tmp_path) as (process, address):
        assert len(asyncio.run(use(address))) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert "Traceback" not in process.stdout.read()
