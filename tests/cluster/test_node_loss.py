"""A session on a real Ray cluster of two nodes, one of which is lost with the engine that makes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa_server.client import SafaClient
from safa_server.cluster.front import front_end
from safa_server.cluster.serve import Running, cluster_of, running
from safa_server.limits import Limits
from safa_server.security import Security
from safa_server.settings import Settings
from safa_stream.models import load
from safa_stream.session.journal import read_journal
from safa_stream.session.replay import replay
from tests.ray_nodes import two_nodes

pytestmark = [
    pytest.mark.slow,
    # Ray leaves files and processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

AHEAD = 5.0


@pytest.fixture
def nodes() -> Iterator[Any]:
    with two_nodes() as found:
        yield found


@asynccontextmanager
async def cluster(nodes: Any, folder: Path) -> AsyncIterator[tuple[Running, str]]:
    """Two engines, one on each node, and a front end of this process: its address."""
    settings = Settings(cluster=nodes.address, engines=2, state=folder, log_level="error")
    with cluster_of(settings) as (found, place):
        async with running(settings, found, place, even=False) as up:
            try:
                door = front_end(
                    "127.0.0.1", 0, up.head, up.settings.engine.secret, Security.of("127.0.0.1"), Limits(), "front"
                )
                async with door as port:
                    yield up, f"ws://127.0.0.1:{port}/ws"
            finally:
                await up.head.stop()


async def engine_on(up: Running, node: Any) -> str:
    """The engine whose process is the child of a node's raylet."""
    raylet = node.all_processes["raylet"][0].process.pid
    for name in (await up.head.status())["engines"]:
        pid = await up.cluster.ray.get_actor(name).process.remote()
        stat = Path(f"/proc/{pid}/stat").read_text()
        if int(stat.rpartition(")")[2].split()[1]) == raylet:
            return name
    raise AssertionError("no engine is on that node")


def test_what_a_node_had_goes_on_at_another(nodes: Any, tmp_path: Path) -> None:
    """The head and what is kept beside the disk may have been on it as well."""

    async def test() -> None:
        lost = next(node for node in nodes.list_all_nodes() if node is not nodes.head_node)
        async with cluster(nodes, tmp_path) as (up, url), SafaClient.connect(url) as client:
            session = (await client.open("rain, wind:0.5", lead=8.0, ahead=AHEAD))["session"]
            parts: list[np.ndarray] = []
            late: list[int] = []
            first: list[float] = []

            async def listen() -> None:
                clock = asyncio.get_running_loop().time
                async for frame in client:
                    head = frame.header
                    first.append(clock() + AHEAD - head.start / head.rate) if not first else None
                    late.extend([head.sequence] if clock() > first[0] + head.start / head.rate else [])
                    parts.append(frame.samples())

            listening = asyncio.create_task(listen())
            victim = await engine_on(up, lost)
            route = await up.head.where(session, 10.0)
            assert route is not None
            if route.engine != victim:
                await up.head.move(session, victim)
            async with asyncio.timeout(60):
                while (await up.head.status())["sessions"][session]["lead"] < AHEAD:
                    await asyncio.sleep(0.2)
            await asyncio.sleep(1.0)
            before = len(parts)
            await asyncio.to_thread(nodes.remove_node, lost, False)
            async with asyncio.timeout(60):
                while len(parts) < before + 50 * (AHEAD + 3.0):
                    assert not listening.done(), listening
                    await asyncio.sleep(0.05)
            listening.cancel()
            after = await up.head.where(session, 10.0)
            assert after is not None and after.engine != victim and after.epoch > route.epoch
            assert client.lost == 0 and not late, "a player that holds 5 s hears nothing of it"
            sound = np.concatenate(parts, axis=1)
        journal = sorted((tmp_path / session).glob("*/journal.jsonl"))[-1]
        chunks = replay(load("builtin", "onnx:threads=1"), read_journal(journal))
        again = np.concatenate([chunk.samples for chunk in chunks], axis=1)
        common = min(sound.shape[1], again.shape[1])
        assert common > 10 * 48_000 and (sound[:, :common] == again[:, :common]).all()

    asyncio.run(asyncio.wait_for(test(), 200))
