"""A cluster whose processes are islands: real engines, a real head and a real front end, on real sockets and files."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from safa_server.cluster.directory import EngineFacts
from safa_server.cluster.engine import Engine, EngineSettings
from safa_server.cluster.fleet import HeadSettings
from safa_server.cluster.front import front_end
from safa_server.cluster.head import Head
from safa_server.cluster.ports import EnginePort, Route
from safa_server.limits import Limits
from safa_server.measuring.day.island import Clock, Gone, Island
from safa_server.measuring.day.model import FormulaModel
from safa_server.measuring.day.weather import BadDisk
from safa_server.security import Security
from safa_server.tenants.quotas import Denied, Quotas, Usage
from safa_stream.errors import FailureError, SafaError

Result = TypeVar("Result")

HOST, SECRET, FORMULA = "127.0.0.1", "of the day", "formula"
ENGINES = 2
#: An engine that has not answered for so long is given up, seconds.
PATIENCE = 1.0
#: Rows in real time that an engine takes.
ROOM = 8


class IslandEngine:
    """An engine's island, as the head calls it. unreachable: whether it can be killed from afar."""

    def __init__(self, island: Island, engine: Engine) -> None:
        self.island, self.engine = island, engine
        self.unreachable = False

    async def facts(self, elsewhere: Mapping[str, Usage] | None = None) -> EngineFacts:
        """How it stands."""

        async def facts() -> EngineFacts:
            return self.engine.facts(elsewhere)

        return await self.island.call(facts)

    async def adopt(self, session_id: str, epoch: int, due: int | None) -> None:
        """Go on with a session."""
        await self.island.call(lambda: self.engine.adopt(session_id, epoch, due))

    async def release(self, session_id: str) -> int:
        """Let go of a session."""
        return await self.island.call(lambda: self.engine.release(session_id))

    async def drop(self, session_id: str, epoch: int) -> None:
        """Be silent about a session."""

        async def drop() -> None:
            self.engine.drop(session_id, epoch)

        await self.island.call(drop)

    async def stop(self) -> None:
        """End it; sessions stay on the disk."""
        await self.island.call(self.engine.stop)
        self.island.kill()

    async def kill(self) -> None:
        """End it. Raises Gone where it cannot be reached."""
        if self.unreachable:
            raise Gone(f"{self.island.name} cannot be reached")
        self.island.kill()


class HeadDoor:
    """The head that there is now, as front ends ask it. Raises FailureError where none answers."""

    def __init__(self) -> None:
        self.island: Island | None = None
        self.head: Head | None = None

    async def place(self, rows: int, model: str | None, without: Collection[str] = ()) -> Route | None:
        """See Head."""
        return await self._ask(lambda head: head.place(rows, model, without))

    async def where(self, session: str, seconds: float = 0.0) -> Route | None:
        """See Head."""
        return await self._ask(lambda head: head.where(session, seconds))

    async def broken(self, session: str, engine: str, epoch: int, seconds: float) -> Route | None:
        """See Head."""
        return await self._ask(lambda head: head.broken(session, engine, epoch, seconds))

    async def may_open(self, tenant: str, quotas: Quotas, layers: int) -> Denied | None:
        """See Head."""
        return await self._ask(lambda head: head.may_open(tenant, quotas, layers))

    async def oldest(self) -> str | None:
        """See Head."""
        return await self._ask(lambda head: head.oldest())

    async def status(self) -> dict[str, Any]:
        """See Head."""
        return await self._ask(lambda head: head.status())

    async def _ask(self, question: Callable[[Head], Awaitable[Result]]) -> Result:
        island, head = self.island, self.head
        if island is None or head is None:
            raise FailureError("the cluster's head is away")

        async def asked() -> Result:
            return await question(head)

        try:
            return await island.call(asked)
        except Gone as error:
            raise FailureError(str(error)) from None


@dataclass
class Cluster:
    """See the module. folder: where engines keep sessions; front: the front end's port; wanted: engines; counts: of
    heads that are gone."""

    folder: Path
    disk: BadDisk = field(default_factory=BadDisk)
    clock: Clock = field(default_factory=Clock)
    door: HeadDoor = field(default_factory=HeadDoor)
    engines: dict[str, IslandEngine] = field(default_factory=dict)
    front: int = 0
    wanted: int = ENGINES
    counts: dict[str, int] = field(default_factory=dict)
    _heads: Any = field(default_factory=lambda: itertools.count(1))

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Begin it, and end all of it."""
        try:
            await self.begin_head()
            security = Security.of(HOST)
            async with front_end(HOST, 0, self.door, SECRET, security, Limits(), "front") as self.front:
                yield
        finally:
            self.end_head()
            for one in self.engines.values():
                one.island.kill()

    async def begin_head(self) -> None:
        """A head, with the engines that are alive."""
        island = Island(f"head-{next(self._heads)}", self.clock)
        head = Head(self._launch, HeadSettings(self.wanted, self.wanted, PATIENCE, model=FORMULA), self.clock)
        known: list[tuple[str, EnginePort]] = [
            (name, one) for name, one in self.engines.items() if not one.island.dead and not one.island.frozen
        ]
        await island.call(lambda: head.start(known))
        self.door.island, self.door.head = island, head

    def end_head(self) -> None:
        """The head dies, and nothing else."""
        island, head = self.door.island, self.door.head
        self.door.island = self.door.head = None
        if island is not None and head is not None:
            island.kill()
            for name, count in head.counts.items():
                self.counts[name] = self.counts.get(name, 0) + count

    async def holder(self, session: str) -> IslandEngine | None:
        """The engine that has a session, as the head knows it; None while that is not known."""
        try:
            route = await self.door.where(session, PATIENCE)
        except SafaError:
            return None
        return None if route is None else self.engines.get(route.engine)

    def forget_the_dead(self) -> None:
        """Let go of engines that have ended."""
        self.engines = {name: one for name, one in self.engines.items() if not one.island.dead}

    async def _launch(self, name: str, model: str) -> IslandEngine:
        island = Island(name, self.clock)
        settings = replace(EngineSettings(name, HOST, SECRET, self.folder, layers=ROOM, sessions=256), model=model)
        engine = Engine(
            settings, loading=lambda name, backend: FormulaModel(island.hold), disk=self.disk, clock=self.clock
        )
        island.dying = engine.halt
        await island.call(engine.start)
        found = self.engines[name] = IslandEngine(island, engine)
        return found
