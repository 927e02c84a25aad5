"""A cluster in one process: a real head, real engines with the toy model and ports of their own, a real front end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from safa_server.client import SafaClient
from safa_server.cluster.directory import EngineFacts
from safa_server.cluster.engine import Engine, EngineSettings
from safa_server.cluster.fleet import HeadSettings
from safa_server.cluster.front import front_end
from safa_server.cluster.head import Head
from safa_server.cluster.passes import pass_for
from safa_server.disk import Disk
from safa_server.limits import Limits
from safa_server.principal import OPERATOR
from safa_server.security import Security
from safa_server.tenants.quotas import Usage
from safa_stream.errors import ModelError
from safa_stream.session.journal import read_journal
from safa_stream.session.replay import replay
from tests.server.ws_rig import toy_48k

SECRET = "the secret of this cluster"


@dataclass
class Port:
    """An engine as the head calls it. frozen: it does not answer, and goes on all the same."""

    engine: Engine
    frozen: bool = False
    dropped: list[str] = field(default_factory=list)

    async def facts(self, elsewhere: Mapping[str, Usage]) -> EngineFacts:
        await self._answer()
        return self.engine.facts(elsewhere)

    async def adopt(self, session_id: str, epoch: int, due: int | None) -> None:
        await self._answer()
        await self.engine.adopt(session_id, epoch, due)

    async def release(self, session_id: str) -> int:
        await self._answer()
        return await self.engine.release(session_id)

    async def drop(self, session_id: str, epoch: int) -> None:
        self.dropped.append(session_id)
        self.engine.drop(session_id, epoch)

    async def stop(self) -> None:
        await self.engine.stop()

    async def kill(self) -> None:
        """A frozen engine on another machine cannot be killed; this one cannot either."""

    async def _answer(self) -> None:
        while self.frozen:
            await asyncio.sleep(0.02)


@dataclass
class Cluster:
    """What a test has of it. folders: where each engine keeps sessions, by its name."""

    head: Head
    ports: dict[str, Port]
    url: str
    folder: Path
    security: Security

    async def port_of(self, session: str) -> Port:
        """The engine that has a session."""
        route = await self.head.where(session, 10.0)
        assert route is not None
        return self.ports[route.engine]

    def check(self, session: str, sound: np.ndarray) -> None:
        """What was heard from a session's first sample on is what its newest journal makes again, as far as it goes."""
        check(self.folder, session, sound)


def check(folder: Path, session: str, sound: np.ndarray) -> None:
    """See `Cluster.check`."""
    journal = sorted((folder / session).glob("*/journal.jsonl"))[-1]
    again = np.concatenate([chunk.samples for chunk in replay(toy_48k(), read_journal(journal))], axis=1)
    common = min(again.shape[1], sound.shape[1])
    assert sound.shape[1] - common < 48_000, "a journal is less than a second behind"
    wrong = np.flatnonzero((sound[:, :common] != again[:, :common]).any(0))
    assert not len(wrong), f"sample {wrong[0]} and {len(wrong) - 1} more of {common} differ"


@asynccontextmanager
async def engine_of(folder: Path, name: str, disk: Disk | None = None, **more: Any) -> AsyncIterator[Engine]:
    """An engine that no head knows, within this context; more: of its settings."""
    settings = EngineSettings(name, "127.0.0.1", SECRET, folder, layers=16, **more)
    engine = Engine(settings, loading=lambda name, backend: toy_48k(), disk=disk)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


def engine_client(engine: Engine) -> AbstractAsyncContextManager[SafaClient]:
    """A client of an engine, as a front end is."""
    return SafaClient.connect(engine.url, pass_for(SECRET, OPERATOR))


@asynccontextmanager
async def cluster(
    folder: Path,
    engines: int = 2,
    patience: float = 3.0,
    security: Security | None = None,
    keep: Callable[[Any], None] = lambda saved: None,
    disk: Disk | None = None,
    **more: Any,
) -> AsyncIterator[Cluster]:
    """Up within this context."""
    ports: dict[str, Port] = {}

    async def launch(name: str, model: str) -> Port:
        if model == "broken":
            raise ModelError("no such model")
        settings = EngineSettings(name, "127.0.0.1", SECRET, folder, model, layers=16)
        engine = Engine(settings, keep, loading=lambda name, backend: toy_48k(), disk=disk)
        await engine.start()
        ports[name] = Port(engine)
        return ports[name]

    head = Head(launch, HeadSettings(engines, engines, patience, even=False, **more))
    security = security or Security.of("127.0.0.1")
    async with AsyncExitStack() as stack:
        await head.start()
        stack.push_async_callback(head.stop)
        port = await stack.enter_async_context(front_end("127.0.0.1", 0, head, SECRET, security, Limits(), "front"))
        yield Cluster(head, ports, f"ws://127.0.0.1:{port}/ws", folder, security)


async def listen(client: SafaClient, seconds: float) -> np.ndarray:
    """[2, N] of the next frames."""
    parts, samples = [], 0
    async for frame in client:
        parts.append(frame.samples())
        samples += parts[-1].shape[1]
        if samples >= seconds * 48_000:
            break
    return np.concatenate(parts, axis=1)
