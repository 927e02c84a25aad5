"""Front ends as a Ray Serve application: real Serve, real engines, and the client that everybody uses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from safa_server.client import SafaClient
from safa_server.cluster.actors import RayHead
from safa_server.cluster.application import build
from safa_stream.errors import FailureError, UsageError
from safa_stream.rayclusters import NAMESPACE, connected
from safa_stream.session.messages import Mix

TOKEN = "a-token-of-the-test"
#: Frames of 20 ms that are heard before and after an engine is lost.
BEFORE, AFTER = 50, 150


def test_settings_that_are_not_for_serve_are_named(tmp_path: Path) -> None:
    for args, said in (
        ({}, "needs 'state'"),
        ({"port": "80", "state": tmp_path}, "unknown argument 'port'"),
        ({"engines": "none", "state": tmp_path}, "SAFA_ENGINES must be int"),
        ({"prompt": "rain", "state": tmp_path}, "setting 'prompt' is for a single server"),
    ):
        with pytest.raises(UsageError, match=said):
            build(args)


# What Serve's own files warn of is not the project's.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_session_through_serve_survives_its_engine_and_its_front_end(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with connected("local", cpus=2) as cluster:
        from ray import serve

        serve.start(http_options={"host": "127.0.0.1", "port": port})
        try:
            serve.run(build({"state": tmp_path, "engines": "2", "token": TOKEN, "log_level": "error"}))
            asyncio.run(asyncio.wait_for(_listen(port, cluster.ray), 180))
        finally:
            serve.shutdown()


async def _listen(port: int, ray: Any) -> None:
    page = await asyncio.to_thread(_fetched, f"http://127.0.0.1:{port}/")
    assert (
        b"<html" in page and json.loads(await asyncio.to_thread(_fetched, f"http://127.0.0.1:{port}/readyz"))["ready"]
    )
    url = f"ws://127.0.0.1:{port}/ws"
    async with SafaClient.connect(url, TOKEN) as client:
        await client.open("rain on a tent")
        frames = aiter(client)
        heard = [await anext(frames) for _ in range(BEFORE)]
        await client.send(Mix(layer=0, gain=-6.0))
        head = RayHead(ray.get_actor("safa-head", namespace=NAMESPACE))
        before = (await head.status())["sessions"][client.opened["session"]]
        engine = ray.get_actor(before["engine"], namespace=NAMESPACE)
        os.kill(await engine.process.remote(), signal.SIGKILL)
        heard += [await anext(frames) for _ in range(AFTER)]
        after = (await head.status())["sessions"][client.opened["session"]]
        assert (after["engine"], after["epoch"]) == (_other(before["engine"]), before["epoch"] + 1)
        assert (await client.state())["layers"][0]["gain"] == -6.0
        assert client.lost == 0 and client.resumed == 0
        # The front end itself is lost: Serve begins another one, and the client goes on there with its token.
        for process in _replicas():
            os.kill(process, signal.SIGKILL)
        heard += [await anext(frames) for _ in range(AFTER)]
        while not client.resumed:
            heard.append(await anext(frames))
        heard += [await anext(frames) for _ in range(BEFORE)]
        assert client.lost == 0 and client.resumed >= 1
        starts = [frame.header.start for frame in heard]
        assert starts == list(range(starts[0], starts[0] + 960 * len(heard), 960))
    with pytest.raises(FailureError, match="401"):
        async with SafaClient.connect(url, "not-the-token") as client:
            await client.open("rain on a tent")
    told = (await asyncio.to_thread(_fetched, f"http://127.0.0.1:{port}/metrics")).decode()
    assert f'safa_engine_up{{engine="{after["engine"]}"}} 1.0' in told


def _replicas() -> list[int]:
    """Processes of Serve's replicas that descend from this one."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            number = int(folder.name)
            parents[number] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica"):
                found.append(number)
        except OSError:
            continue  # it has ended
    return [number for number in found if os.getpid() in _line(number, parents)]


def _line(number: int, parents: dict[int, int]) -> list[int]:
    above = []
    while number := parents.get(number, 0):
        above.append(number)
    return above


def _other(engine: str) -> str:
    return {"engine-1": "engine-2", "engine-2": "engine-1"}[engine]


def _fetched(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bytes(answer.read())
