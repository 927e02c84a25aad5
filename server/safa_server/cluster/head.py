"""The head of a cluster: watches the engines, hands lost sessions on, moves them, and knows where each is.

It is asked when sessions are opened, resumed or broken, and by nobody while sound flows: should it be gone for a while,
all that plays goes on. What it knows it has from the engines' reports, so it may begin anew at any time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

from safa_server.cluster import directory as rules
from safa_server.cluster.claims import Over
from safa_server.cluster.directory import Directory, EngineFacts
from safa_server.cluster.fleet import Fleet, HeadSettings, Launch
from safa_server.cluster.ports import EnginePort, Route
from safa_server.cluster.takeovers import Takeovers
from safa_server.tenants.quotas import Denied, QuotaError, Quotas, Turnstile, Usage
from safa_stream.errors import ClusterError, OutputError, SnapshotError

log = logging.getLogger("safa_server.cluster.head")

#: Engines are asked so often, and rules that may wait are looked at so often, seconds.
POLL, TEND = 0.25, 2.0
#: How long an engine may take to take a session over, and to answer whether it is alive.
ADOPT_SECONDS, ALIVE_SECONDS = 20.0, 1.0
#: An engine that is drained waits so long for sessions that cannot leave yet, and asks so often, seconds.
DRAIN_SECONDS, DRAIN_AGAIN = 30.0, 1.0


class Head:
    """See the module."""

    def __init__(
        self,
        launch: Launch,
        settings: HeadSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self._clock = settings, clock
        self.directory = Directory()
        #: Since it began: engines that were lost, sessions that others took over, and sessions that were moved.
        self.counts = {"engines_lost": 0, "sessions_recovered": 0, "sessions_moved": 0, "sessions_lost": 0}
        self._fleet = Fleet(launch, settings)
        self._ports = self._fleet.ports
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._moving: set[str] = set()
        self._takeovers, self._turnstile = Takeovers(), Turnstile()
        self._refused: set[str] = set()
        self._changed = asyncio.Condition()

    async def start(self, known: Collection[tuple[str, EnginePort]] = (), taken: Collection[str] = ()) -> None:
        """Begin with engines that are there already, and as many more as are needed. Raises ClusterError.

        taken: further names that no new engine may have: of engines that are there and do not answer.
        """
        self._fleet.skip([*taken, *(name for name, _ in known)])
        for name, port in known:
            await self._join(name, port)
        begun = [self._begin_engine(model) for model in self._fleet.missing(self.directory)]
        failures = [one for one in await asyncio.gather(*begun, return_exceptions=True) if one is not None]
        for model in self._fleet.pools:
            if not rules.only(self.directory, model).engines:
                await self.stop()
                reason = failures[0] if failures else "none was wanted"
                raise ClusterError(f"no engine of {model} could be started: {reason}")
        self._spawn(self._tend())
        self._spawn(self._balance())

    async def stop(self) -> None:
        """End every engine; their sessions can be restored."""
        for task in [*self._tasks, *self._watches.values()]:
            task.cancel()
        await asyncio.gather(*(port.stop() for port in self._ports.values()), return_exceptions=True)

    # What front ends ask -------------------------------------------------------------------------------------------

    async def place(self, rows: int, model: str | None, without: Collection[str] = ()) -> Route | None:
        """The engine for a new session of so many rows, whose scene names a model; None where none has room."""
        model = self._fleet.model_for(model)
        engine = rules.place(rules.only(self.directory, model), rows, without)
        if engine is None:
            self._refused.add(model)
            return None
        self.directory = rules.promised(self.directory, engine, rows)
        return Route(engine, self.directory.engines[engine].facts.url, 1)

    async def may_open(self, tenant: str, quotas: Quotas, layers: int) -> Denied | None:
        """Why a tenant may not open one more session of so many layers, None where it may."""
        await self._ask_all()
        usage = rules.usage(self.directory).get(tenant, Usage())
        try:
            self._turnstile.check_open(tenant, quotas, usage, layers, self._clock())
        except QuotaError as error:
            return Denied(error.quota, error.reason, error.retry_after)
        return None

    async def where(self, session: str, seconds: float = 0.0) -> Route | None:
        """Where a session is, waiting so long for one that changes hands; None where there is none of that name."""
        if session not in self.directory.sessions:
            await self._ask_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._has_place(session))
        return self._route(session)

    async def broken(self, session: str, engine: str, epoch: int, seconds: float) -> Route | None:
        """A front end has lost an engine that had a session: where is it to look? Waits as `where` does."""
        held = self.directory.sessions.get(session)
        if held is None or (held.engine, held.epoch) == (engine, epoch):
            await self._check(engine)
        if session not in self.directory.sessions and engine not in self._ports:
            # It began and was lost between two reports: its files say the rest.
            model = self._fleet.model_for(self._fleet.served.get(engine))
            self.directory = rules.heard_of(self.directory, session, epoch, self._clock(), model)
            self._rehome()
        return await self.where(session, seconds)

    async def oldest(self) -> str | None:
        """The operator's own session that has been there for the longest time, as far as is known; None for none."""
        if not self.directory.sessions:
            await self._ask_all()
        return next((name for name, one in self.directory.sessions.items() if one.facts.tenant is None), None)

    async def status(self) -> dict[str, Any]:
        """Engines and sessions, as JSON."""
        return {**rules.described(self.directory, self._clock()), **self.counts}

    async def move(self, session: str, to: str | None = None) -> Route | None:
        """Let a session go on at another engine, the least loaded unless it is named. Raises ClusterError."""
        if session not in self.directory.sessions:
            await self._ask_all()
        held = self.directory.sessions.get(session)
        if held is None or held.engine is None:
            raise ClusterError(f"there is no session {session!r}, or it is changing hands")
        source = held.engine
        able = rules.only(self.directory, held.model)
        target = to or rules.shelter(able, without=[source])
        if target is None or target not in self._ports or target not in able.engines or target == source:
            raise ClusterError(f"there is no other engine for session {session!r}")
        self._moving.add(session)
        self.directory = rules.handed(self.directory, session, target, self._clock())
        epoch, released = self.directory.sessions[session].epoch, False
        try:
            position = await self._ports[source].release(session)
            released = True
            due = self.directory.sessions[session].due(self._clock())
            await self._adopt(session, epoch, target, None if due is None else max(due, position))
            self.counts["sessions_moved"] += 1
        except Exception as error:
            if not released and isinstance(error, OutputError):
                self.directory = rules.kept(self.directory, session, held)
            else:
                self._orphan(session, epoch)
            raise ClusterError(f"session {session!r} did not move as planned: {error}") from error
        finally:
            self._moving.discard(session)
            self._rehome()
        return self._route(session)

    async def drain(self, engine: str) -> int:
        """Let an engine's sessions go on elsewhere and end it; gives how many there were. Raises ClusterError."""
        if engine not in self._ports:
            raise ClusterError(f"there is no engine {engine!r}; there are {', '.join(self._ports) or 'none'}")
        model = self.directory.engines[engine].facts.serves
        if self._fleet.number(self.directory, model, without=[engine]) == 0:
            await self._begin_engine(model)
        self.directory = rules.leaving(self.directory, engine)
        left = sessions = self.directory.of(engine)
        end = self._clock() + DRAIN_SECONDS
        while left and self._clock() < end and engine in self._ports:
            for session in left:
                with suppress(ClusterError):
                    await self.move(session)
            left = self.directory.of(engine)
            if left:
                await asyncio.sleep(DRAIN_AGAIN)
        port = self._ports.pop(engine, None)
        if port is not None:
            self._watches.pop(engine).cancel()
            with suppress(Exception):
                await port.stop()
            self.directory = rules.lost(self.directory, engine)
            self._rehome()
        return len(sessions)

    # What it does by itself ----------------------------------------------------------------------------------------

    async def _begin_engine(self, model: str) -> None:
        await self._fleet.begin(model, self._join)

    async def _join(self, name: str, port: EnginePort) -> None:
        facts = await port.facts(rules.usage(self.directory, name))
        self._ports[name], self._fleet.served[name] = port, facts.serves
        self.directory, _ = rules.reported(self.directory, name, facts, self._clock())
        self._watches[name] = asyncio.create_task(self._watch(name, port), name=f"watch {name}")
        await self._tell()

    async def _watch(self, name: str, port: EnginePort) -> None:
        """Ask an engine again and again, until it answers no more."""
        while True:
            await asyncio.sleep(POLL)
            asked = self._clock()
            try:
                async with asyncio.timeout(self.settings.patience):
                    facts = await port.facts(rules.usage(self.directory, name))
            except Exception as error:
                self._spawn(self._lost(name, error))
                return
            await self._heard(name, port, facts, asked)

    async def _heard(self, name: str, port: EnginePort, facts: EngineFacts, asked: float) -> None:
        if name not in self._ports:
            return
        self.directory, outdated = rules.reported(self.directory, name, facts, self._clock(), asked)
        for session in outdated:
            if session not in self._moving:
                with suppress(Exception):
                    await port.drop(session, self.directory.sessions[session].epoch)
        await self._tell()

    async def _lost(self, name: str, error: Exception) -> None:
        port = self._ports.pop(name, None)
        if port is None:
            return
        watch = self._watches.pop(name)
        self.counts["engines_lost"] += 1
        log.warning("%s is lost: %s: %s", name, type(error).__name__, str(error).splitlines()[0] if str(error) else "")
        self.directory = rules.lost(self.directory, name)
        self._spawn(self._replace(port))
        self._rehome()
        if watch is not asyncio.current_task():
            watch.cancel()

    async def _replace(self, port: EnginePort) -> None:
        """Make sure that it is gone, and begin another one where there are too few."""
        with suppress(Exception):
            await port.kill()
        for model in self._fleet.missing(self.directory)[:1]:
            try:
                await self._begin_engine(model)
            except Exception as error:
                log.error("no engine could be started in place of one that was lost: %s", error)
        self._rehome()

    def _rehome(self) -> None:
        """Hand on sessions that nobody has, those first whose sound runs out first; nobody waits for another's."""
        for session in self.directory.homeless:
            target = rules.shelter(rules.only(self.directory, self.directory.sessions[session].model))
            if target is not None and session not in self._moving:
                self._hand_on(session, target)

    def _hand_on(self, session: str, target: str) -> None:
        now = self._clock()
        reason = self._takeovers.one_more(session, now)
        if reason is not None:
            self._give_up(session, reason)
            return
        self.directory = rules.handed(self.directory, session, target, now)
        held = self.directory.sessions[session]
        self._spawn(self._take_over(session, target, held.epoch, held.due(now)))

    async def _take_over(self, session: str, target: str, epoch: int, due: int | None) -> None:
        try:
            await self._adopt(session, epoch, target, due)
            self.counts["sessions_recovered"] += 1
        except Over as error:
            # Its engine was lost before it could say so.
            log.info("%s", error)
            if self._is_under_way(session, epoch):
                self.directory = rules.ended(self.directory, session)
                await self._tell()
        except SnapshotError as error:
            if self._is_under_way(session, epoch):
                self._give_up(session, str(error))
        except OutputError as error:
            # No engine was lost with it: it is tried until the disk takes it.
            self._takeovers.not_counted(session)
            log.warning("%s could not take session %s over yet: %s", target, session, error)
            self._orphan(session, epoch)
        except Exception as error:
            log.warning("%s could not take session %s over: %s", target, session, error)
            self._orphan(session, epoch)

    async def _adopt(self, session: str, epoch: int, engine: str, due: int | None) -> None:
        async with asyncio.timeout(ADOPT_SECONDS):
            await self._ports[engine].adopt(session, epoch, due)
        if self._is_under_way(session, epoch):
            self.directory = rules.settled(self.directory, session, self._clock())
        await self._tell()

    def _is_under_way(self, session: str, epoch: int) -> bool:
        """Whether a session still changes hands in this epoch: its new engine may have been lost as well meanwhile."""
        held = self.directory.sessions.get(session)
        return held is not None and held.epoch == epoch and not held.confirmed

    def _give_up(self, session: str, reason: str) -> None:
        log.error("session %s is lost: %s", session, reason)
        self.counts["sessions_lost"] += 1
        self.directory = rules.ended(self.directory, session)
        self._takeovers.forget(session)
        self._spawn(self._tell())

    def _orphan(self, session: str, epoch: int) -> None:
        """Whoever was to have a session in this epoch has not got it."""
        if self._is_under_way(session, epoch):
            self.directory = rules.orphaned(self.directory, session)

    async def _check(self, engine: str) -> None:
        """Is an engine alive? Where it is not, its sessions are handed on now."""
        port = self._ports.get(engine)
        if port is None:
            return
        asked = self._clock()
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                await self._heard(engine, port, await port.facts(rules.usage(self.directory, engine)), asked)
        except Exception as error:
            await self._lost(engine, error)

    async def _ask_all(self) -> None:
        await asyncio.gather(*(self._check(engine) for engine in list(self._ports)))

    async def _tend(self) -> None:
        """Now and then: hand on what is left over."""
        while True:
            await asyncio.sleep(TEND)
            self._rehome()

    async def _balance(self) -> None:
        """Now and then: even out, and have as many engines as are of use."""
        while True:
            await asyncio.sleep(TEND)
            try:
                for model, (least, most) in self._fleet.pools.items():
                    await self._scale(model, least, most)
                    uneven = rules.evened(rules.only(self.directory, model)) if self.settings.even else None
                    if uneven is not None:
                        await self.move(*uneven)
            except Exception as error:  # what an engine's launch raises must not end this
                log.warning("engines are not as many or as even as they should be: %s", error)

    async def _scale(self, model: str, least: int, most: int) -> None:
        refused = model in self._refused
        self._refused.discard(model)
        able = rules.only(self.directory, model)
        wanted, there = rules.wanted(able, least, most, refused), self._fleet.number(self.directory, model)
        if wanted > there:
            await self._begin_engine(model)
        elif wanted < there:
            ready = [name for name, one in able.engines.items() if not one.leaving]
            await self.drain(min(ready, key=lambda name: able.engines[name].load))

    def _has_place(self, session: str) -> bool:
        held = self.directory.sessions.get(session)
        return held is None or (held.engine is not None and held.confirmed)

    def _route(self, session: str) -> Route | None:
        held = self.directory.sessions.get(session)
        if held is None or held.engine is None or not held.confirmed:
            return None
        return Route(held.engine, self.directory.engines[held.engine].facts.url, held.epoch)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _spawn(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
