"""The cluster's parts as Ray actors, and how they are called. All that Ray is asked is here; what they do is elsewhere.

head      one, named, begun again by Ray where it dies: what it knows it asks the engines
engine-N  named, one for each slot; never begun again by Ray: the head begins another, elsewhere
vault     snapshots in the object store, for engines that do not see the disk of the one that was lost
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from safa_server.cluster.directory import EngineFacts
from safa_server.cluster.engine import Engine, EngineSettings
from safa_server.cluster.fleet import HeadSettings
from safa_server.cluster.head import Head
from safa_server.cluster.ports import Route
from safa_server.cluster.vault import Saved, Vault
from safa_server.serve import set_up_logging
from safa_server.tenants.quotas import Denied, Quotas, Usage
from safa_stream.errors import ClusterError, FailureError, SafaError
from safa_stream.models import is_pretrained
from safa_stream.models.backends.spec import AUTO
from safa_stream.rayclusters import NAMESPACE, library, one_line, told

log = logging.getLogger("safa_server.cluster")

HEAD, VAULT, ENGINE = "safa-head", "safa-vault", "engine-"
#: A head that could not begin says so to all who wait for it before it leaves, seconds.
FAREWELL = 2.0
#: Calls that an actor carries out side by side: front ends wait in the head for sessions that change hands.
AT_ONCE = 1000
#: What an engine hands to the vault and is not taken yet, at the most.
LARGEST_WAITING = 64


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """engine: of every engine, without name, host and model; cpus, gpus: that each takes of its node; alone: whether
    all runs on this machine, where the loopback address does."""

    engine: EngineSettings
    head: HeadSettings
    cpus: float = 1.0
    gpus: float = 0.0
    alone: bool = False
    log_level: str = "warning"

    def backend_of(self, model: str) -> str:
        """What runs an engine's networks where that is left to us: engines share their node's cores, so each takes what
        it was given and not all that it sees."""
        left = self.engine.backend == AUTO and self.gpus == 0 and not is_pretrained(model)
        return f"onnx:threads={max(1, int(self.cpus))}" if left else self.engine.backend


class EngineActor:
    """An engine as an actor: one process, one event loop."""

    def __init__(self, settings: EngineSettings, alone: bool, log_level: str) -> None:
        set_up_logging(log_level, as_json=False)
        ray = library()
        host = "127.0.0.1" if alone else str(ray.util.get_node_ip_address())
        vault = ray.get_actor(VAULT, namespace=NAMESPACE)

        waiting: deque[Any] = deque()

        def keep(saved: Saved) -> None:
            # A vault that cannot keep up must not fill this process: what it does not get now, the next view brings.
            while waiting and ray.wait([waiting[0]], timeout=0)[0]:
                waiting.popleft()
            if len(waiting) < LARGEST_WAITING:
                waiting.append(vault.keep.remote(saved))

        async def fetch(session: str) -> Saved | None:
            found = await vault.fetch.remote(session)
            return None if found is None else replace(found[0], snapshot=await found[1][0])

        self._engine = Engine(replace(settings, host=host), keep, fetch)

    async def start(self) -> str:
        """See Engine."""
        return await self._engine.start()

    async def facts(self, elsewhere: Mapping[str, Usage]) -> EngineFacts:
        """See Engine."""
        return self._engine.facts(elsewhere)

    async def adopt(self, session_id: str, epoch: int, due: int | None) -> None:
        """See Engine."""
        await self._engine.adopt(session_id, epoch, due)

    async def release(self, session_id: str) -> int:
        """See Engine."""
        return await self._engine.release(session_id)

    async def drop(self, session_id: str, epoch: int) -> None:
        """See Engine."""
        self._engine.drop(session_id, epoch)

    async def stop(self) -> None:
        """See Engine."""
        await self._engine.stop()

    async def process(self) -> int:
        """The number of the process, for whoever measures or tests."""
        import os

        return os.getpid()


class VaultActor:
    """Snapshots in the object store, owned by this actor: they outlive the engine that made them."""

    def __init__(self) -> None:
        self._vault = Vault()
        self._ray = library()
        self._held: dict[str, Any] = {}

    def keep(self, saved: Saved) -> None:
        """Take what an engine has written of a session."""
        if self._vault.keep(saved):
            self._held.pop(saved.session, None)
            if saved.snapshot is not None:
                self._held[saved.session] = self._ray.put(saved.snapshot)

    def fetch(self, session: str) -> tuple[Saved, list[Any]] | None:
        """A session's newest, and a reference to its snapshot, in a list so that it is not followed on the way."""
        found, held = self._vault.find(session), self._held.get(session)
        return None if found is None or held is None else (found, [held])


async def _in_words(answer: Awaitable[Any]) -> Any:
    """What an actor answers; what it raises has no trace of Ray's."""
    try:
        return await answer
    except SafaError as error:
        raise told(error) from None


class RayEngine:
    """An engine's actor, as the head calls it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def facts(self, elsewhere: Mapping[str, Usage]) -> EngineFacts:
        """How it stands."""
        facts: EngineFacts = await self._handle.facts.remote(dict(elsewhere))
        return facts

    async def adopt(self, session_id: str, epoch: int, due: int | None) -> None:
        """Go on with a session."""
        await _in_words(self._handle.adopt.remote(session_id, epoch, due))

    async def release(self, session_id: str) -> int:
        """Let go of a session."""
        position: int = await _in_words(self._handle.release.remote(session_id))
        return position

    async def drop(self, session_id: str, epoch: int) -> None:
        """Be silent about a session."""
        await self._handle.drop.remote(session_id, epoch)

    async def stop(self) -> None:
        """End it; sessions stay on the disk."""
        await self._handle.stop.remote()
        await self.kill()

    async def kill(self) -> None:
        """End its process."""
        library().kill(self._handle, no_restart=True)


class HeadActor:
    """The head as an actor. settings: those of the front end that began the cluster."""

    def __init__(self, settings: ClusterSettings) -> None:
        set_up_logging(settings.log_level, as_json=False)
        self._settings, self._ray = settings, library()
        self._vault = self._actor(VaultActor, VAULT, cpus=0.0, restarts=-1).remote()
        self._head = Head(self._launch, settings.head)
        self._begun, self._failure = False, ""

    async def start(self) -> None:
        """Begin, with the engines that are there already where this head is not the first. Raises ClusterError; a head
        that was the first leaves then, with all that it has begun."""
        if self._failure:
            raise ClusterError(self._failure)
        if self._begun:
            return
        self._begun = True
        named = [(one["namespace"], one["name"]) for one in self._ray.util.list_named_actors(all_namespaces=True)]
        there = [name for place, name in named if place == NAMESPACE and name.startswith(ENGINE)]
        known = []
        for name in there:
            port = RayEngine(self._ray.get_actor(name, namespace=NAMESPACE))
            try:
                await port.facts({})
            except Exception as error:
                log.warning("%s does not answer: %s", name, one_line(error))
                continue
            known.append((name, port))
        try:
            await self._head.start(known, there)
        except ClusterError as error:
            if not there:
                self._failure = str(error)
                asyncio.get_running_loop().call_later(FAREWELL, self._leave)
            raise

    def _leave(self) -> None:
        for name in (VAULT, HEAD):
            self._ray.kill(self._ray.get_actor(name, namespace=NAMESPACE), no_restart=True)

    async def settings(self) -> ClusterSettings:
        """What the cluster was begun with."""
        return self._settings

    async def place(self, rows: int, model: str | None, without: Collection[str] = ()) -> Route | None:
        """See Head."""
        await self.start()
        return await self._head.place(rows, model, without)

    async def may_open(self, tenant: str, quotas: Quotas, layers: int) -> Denied | None:
        """See Head."""
        await self.start()
        return await self._head.may_open(tenant, quotas, layers)

    async def where(self, session: str, seconds: float = 0.0) -> Route | None:
        """See Head."""
        await self.start()
        return await self._head.where(session, seconds)

    async def broken(self, session: str, engine: str, epoch: int, seconds: float) -> Route | None:
        """See Head."""
        await self.start()
        return await self._head.broken(session, engine, epoch, seconds)

    async def oldest(self) -> str | None:
        """See Head."""
        await self.start()
        return await self._head.oldest()

    async def status(self) -> dict[str, Any]:
        """See Head."""
        await self.start()
        return await self._head.status()

    async def move(self, session: str, to: str | None = None) -> Route | None:
        """See Head."""
        return await self._head.move(session, to)

    async def drain(self, engine: str) -> int:
        """See Head."""
        return await self._head.drain(engine)

    async def stop(self) -> None:
        """End every engine."""
        await self._head.stop()

    async def _launch(self, name: str, model: str) -> RayEngine:
        settings = self._settings
        handle = self._actor(EngineActor, name, settings.cpus, restarts=0, gpus=settings.gpus).remote(
            replace(settings.engine, name=name, model=model, backend=settings.backend_of(model)),
            settings.alone,
            settings.log_level,
        )
        try:
            await handle.start.remote()
        except Exception as error:
            self._ray.kill(handle, no_restart=True)
            raise told(error) from None
        return RayEngine(handle)

    def _actor(self, kind: type, name: str, cpus: float, restarts: int, gpus: float = 0.0) -> Any:
        return self._ray.remote(kind).options(
            name=name,
            namespace=NAMESPACE,
            get_if_exists=name == VAULT,
            lifetime="detached",
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=restarts,
            max_concurrency=AT_ONCE,
            scheduling_strategy="SPREAD",
        )


class RayHead:
    """The head's actor, as front ends and commands call it. Raises FailureError where it does not answer."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @classmethod
    def begun(cls, settings: ClusterSettings) -> RayHead:
        """The cluster's head, begun with these settings where there is none."""
        ray = library()
        # Whose process it is that asks, one of Ray Serve or another: the cluster is the same one.
        named = {"name": HEAD, "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
        options = {**named, "num_cpus": 0, "max_restarts": -1, "max_concurrency": AT_ONCE}
        return cls(ray.remote(HeadActor).options(**options).remote(settings))

    async def start(self) -> ClusterSettings:
        """Wait until it can be asked; gives what the cluster was begun with."""
        await self._ask(self._handle.start.remote)
        found: ClusterSettings = await self._ask(self._handle.settings.remote)
        return found

    async def place(self, rows: int, model: str | None, without: Collection[str] = ()) -> Route | None:
        """See Head."""
        found: Route | None = await self._ask(self._handle.place.remote, rows, model, tuple(without))
        return found

    async def may_open(self, tenant: str, quotas: Quotas, layers: int) -> Denied | None:
        """See Head."""
        found: Denied | None = await self._ask(self._handle.may_open.remote, tenant, quotas, layers)
        return found

    async def where(self, session: str, seconds: float = 0.0) -> Route | None:
        """See Head."""
        found: Route | None = await self._ask(self._handle.where.remote, session, seconds)
        return found

    async def broken(self, session: str, engine: str, epoch: int, seconds: float) -> Route | None:
        """See Head."""
        found: Route | None = await self._ask(self._handle.broken.remote, session, engine, epoch, seconds)
        return found

    async def oldest(self) -> str | None:
        """See Head."""
        found: str | None = await self._ask(self._handle.oldest.remote)
        return found

    async def status(self) -> dict[str, Any]:
        """See Head."""
        found: dict[str, Any] = await self._ask(self._handle.status.remote)
        return found

    async def move(self, session: str, to: str | None = None) -> Route | None:
        """See Head."""
        found: Route | None = await self._ask(self._handle.move.remote, session, to)
        return found

    async def drain(self, engine: str) -> int:
        """See Head."""
        found: int = await self._ask(self._handle.drain.remote, engine)
        return found

    async def stop(self) -> None:
        """End the whole cluster's engines, and the head."""
        await self._ask(self._handle.stop.remote)
        library().kill(self._handle, no_restart=True)

    async def _ask(self, call: Callable[..., Awaitable[Any]], *values: Any) -> Any:
        try:
            return await call(*values)
        except SafaError as error:
            raise told(error) from None
        except Exception as error:
            raise FailureError(f"the cluster's head does not answer: {one_line(error)}") from None
