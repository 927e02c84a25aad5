"""`bench cluster`: what each engine adds, what moving a session costs, and what is heard of engines that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from safa_server.client import Received, Refused, SafaClient
from safa_server.cluster.actors import RayHead
from safa_server.cluster.serve import Running, cluster_of, running
from safa_server.control import Close, Grant
from safa_server.measuring.account import Account
from safa_server.measuring.processes import cpu_seconds, load
from safa_server.measuring.servers import Report
from safa_server.measuring.servers import Running as Served
from safa_server.measuring.servers import running as served
from safa_server.settings import Settings
from safa_stream.errors import FailureError
from safa_stream.models import load as load_model
from safa_stream.scene import parse_prompts
from safa_stream.session.journal import read_journal
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.replay import replay
from safa_stream.types import FloatArray

PROMPTS = ("rain", "wind", "waves", "campfire, birds:0.3")
#: Seconds by which sound is sent before its time to clients that have to bridge a loss, and that is kept ready ahead.
AHEAD, LEAD = 5.0, 8.0
#: A frame may come so late without being heard: what players hold beside, seconds.
GRACE = 0.02
#: How much of a throughput run is not counted, seconds: views of the sessions are not alike at first.
UNSETTLED = 4.0
#: Between two moves, after a loss, and until there is a lead, or a front end is back, at the most, seconds.
MOVE_SECONDS, AFTERWARDS, LEAD_SECONDS, BACK_SECONDS = 2.5, 8.0, 60.0, 30.0
#: A client that has got so many frames hears its session.
FRAMES = 50
#: What a front end counts of it.
REJOINS = "safa_front_rejoin_seconds_count"
#: Sessions that throughput is measured with, an engine.
SESSIONS_EACH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """What is run. engines: at most; sessions: of the engine that is killed; moves: of one session; window: seconds of
    each measurement of throughput, 0 for none."""

    engines: int = 2
    sessions: int = 8
    moves: int = 3
    window: float = 12.0
    model: str = "builtin"
    backend: str = "auto"
    steps: int | None = None
    seed: int = 0

    def scene(self, number: int) -> dict[str, Any]:
        """The scene of a session."""
        layer = LayerScene(0, parse_prompts(PROMPTS[number % len(PROMPTS)]), seed=self.seed + number)
        return LiveScene((layer,), steps=self.steps, model=self.model).as_dict()

    def settings(self, folder: Path) -> Settings:
        """The cluster's."""
        return Settings(
            cluster="local",
            engines=self.engines,
            model=self.model,
            backend=self.backend,
            state=folder,
            log_level="error",
        )


@dataclass(slots=True)
class Heard:
    """What a client got: accounted for, with when it came, and if wanted the sound."""

    keep: bool = False
    account: Account = field(default_factory=Account)
    parts: list[FloatArray] = field(default_factory=list)
    late: int = 0
    _first: float | None = None

    def take(self, frame: Received, now: float) -> None:
        """A frame, played from the moment on when the first one came and AHEAD had been waited for."""
        head = frame.header
        if self._first is None:
            self._first = now + AHEAD - head.start / head.rate
        self.account.take(head.sequence, head.start, head.frames)
        self.late += now > self._first + head.start / head.rate + GRACE
        if self.keep:
            self.parts.append(frame.samples())

    @property
    def sound(self) -> FloatArray:
        """[channels, N] of all that came."""
        return np.concatenate(self.parts, axis=1)


async def measure(plan: ClusterPlan, report: Report) -> dict[str, Any]:
    """All figures as JSON values. Raises SafaError where no cluster can be started."""
    with tempfile.TemporaryDirectory(prefix="safa-cluster-") as folder:
        settings = plan.settings(Path(folder))
        with cluster_of(settings) as (cluster, place):
            # Sessions stay where a measurement puts them.
            async with running(settings, cluster, place, even=False) as up:
                flags = ("--cluster", cluster.address, "--state", str(place))
                async with _doomed(flags, report) as front:
                    return {
                        "load_before": load(),
                        "cores": os.cpu_count(),
                        **await _scaling(plan, up, front.url, report),
                        **await _migration(plan, up, front.url, place, report),
                        **await _failover(plan, up, front, report),
                        **await _front_loss(plan, front, flags, report),
                    }


# Throughput -----------------------------------------------------------------------------------------------------------


async def _scaling(plan: ClusterPlan, up: Running, url: str, report: Report) -> dict[str, Any]:
    """Seconds of sound that 1, 2, ... engines make in a second, of sessions that wait for nobody, and in a second of
    their processes' CPU time: what they would make with cores of their own."""
    engines = sorted((await up.head.status())["engines"])
    made: list[float] = []
    each: list[float] = []
    for count in range(1, len(engines) + 1) if plan.window > 0 else ():
        sound, spent = await _throughput(plan, up, url, engines[:count])
        made.append(sound)
        each.append(sound / spent)
        report(f"{count} engine(s): {sound:.1f} s of sound a second, {each[-1]:.1f} s in one of their CPU time")
    # The least that an added engine brought, of what the first one makes.
    added = [(after - before) / made[0] for before, after in pairwise(made)]
    return {
        "engines": len(engines),
        "sound_per_second": made,
        "scaling_efficiency": min(added, default=None),
        "sound_per_cpu_second": each,
        "scaling_efficiency_per_cpu": min((one / each[0] for one in each[1:]), default=None),
    }


async def _throughput(plan: ClusterPlan, up: Running, url: str, engines: Sequence[str]) -> tuple[float, float]:
    """Seconds of sound, and of the engines' CPU time, in a second."""
    sent = [0.0]
    pids = [await _pid(up, engine) for engine in engines]
    async with _sessions(plan, url, SESSIONS_EACH * len(engines), pacing="pull") as clients:
        for number, client in enumerate(clients):
            await _bring(up.head, client, engines[number % len(engines)])
        async with _tasks(*(_drink(client, sent) for client in clients)):
            await asyncio.sleep(UNSETTLED)
            begun, before, spent = time.monotonic(), sent[0], sum(map(cpu_seconds, pids))
            await asyncio.sleep(plan.window)
            lasted = time.monotonic() - begun
            return (sent[0] - before) / lasted, (sum(map(cpu_seconds, pids)) - spent) / lasted


async def _pid(up: Running, engine: str) -> int:
    """The number of an engine's process."""
    return int(await up.cluster.ray.get_actor(engine).process.remote())


async def _drink(client: SafaClient, sent: list[float]) -> None:
    """Grant as fast as sound comes, and count its seconds."""
    rate = client.opened["session_rate"]
    await client.send(Grant(samples=2 * rate))
    async for frame in client:
        sent[0] += frame.header.frames / rate
        await client.send(Grant(samples=frame.header.frames))


# Moving ---------------------------------------------------------------------------------------------------------------


async def _migration(plan: ClusterPlan, up: Running, url: str, folder: Path, report: Report) -> dict[str, Any]:
    """A session moves while it plays: is it to the bit what one that stays makes of the same journal?"""
    head, backend = up.head, up.settings.backend_of(plan.model)
    heard = Heard(keep=True)
    async with _sessions(plan, url, 1) as clients, _tasks(*_listening(clients, (heard,))):
        session, pauses = clients[0].opened["session"], []
        for _ in range(plan.moves):
            await asyncio.sleep(MOVE_SECONDS)
            began = time.monotonic()
            await head.move(session)
            pauses.append(time.monotonic() - began)
            report(f"a session moved in {pauses[-1] * 1000:.0f} ms")
        await asyncio.sleep(MOVE_SECONDS)
        journal = sorted((folder / session).glob("*/journal.jsonl"))[-1]
        stayed = await asyncio.to_thread(_made_again, journal, plan, backend)
    common = min(heard.sound.shape[1], stayed.shape[1])
    equal = bool((heard.sound[:, :common] == stayed[:, :common]).all())
    return {
        "migrations": plan.moves,
        "migration_s": max(pauses, default=None),
        "migration_samples_lost": heard.account.missing,
        "migration_samples_duplicated": heard.account.duplicated,
        "migration_bit_equal": equal and common > 0,
        "migration_seconds_compared": common / 48_000,
        "migration_late_frames": heard.late,
    }


def _made_again(journal: Path, plan: ClusterPlan, backend: str) -> FloatArray:
    model = load_model(plan.model, backend)
    return np.concatenate([chunk.samples for chunk in replay(model, read_journal(journal))], axis=1)


# Losses ---------------------------------------------------------------------------------------------------------------


async def _failover(plan: ClusterPlan, up: Running, front: Served, report: Report) -> dict[str, Any]:
    """All sessions on one engine, which is killed."""
    engine = sorted((await up.head.status())["engines"])[-1]
    heard = [Heard() for _ in range(plan.sessions)]
    async with _sessions(plan, front.url, plan.sessions) as clients, _tasks(*_listening(clients, heard)):
        for client in clients:
            await _bring(up.head, client, engine)
        await _has_lead(up.head, clients)
        rejoined = await _rejoined(front)
        before = await up.head.status()
        pid = await _pid(up, engine)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        report(f"{engine} with {plan.sessions} sessions is killed")
        async with asyncio.timeout(LEAD_SECONDS):
            while (await up.head.status())["sessions_recovered"] < before["sessions_recovered"] + plan.sessions:
                await asyncio.sleep(0.02)
        taken = time.monotonic() - killed
        async with asyncio.timeout(LEAD_SECONDS):
            while await _rejoined(front) < rejoined + plan.sessions:
                await asyncio.sleep(0.02)
        recovered = time.monotonic() - killed
        report(f"another engine has all of them after {taken:.2f} s, and they are heard of it after {recovered:.2f} s")
        await asyncio.sleep(AFTERWARDS)
        beds = sum(event["type"] == "bed.began" for client in clients for event in client.events)
        status = await up.head.status()
    return {
        "failover_sessions": plan.sessions,
        "failover_lead_s": min(before["sessions"][client.opened["session"]]["lead"] for client in clients),
        "failover_underruns": sum(one.late > 0 for one in heard) + beds,
        "failover_samples_lost": sum(one.account.missing for one in heard),
        "failover_samples_duplicated": sum(one.account.duplicated for one in heard),
        "failover_recovered": status["sessions_recovered"] - before["sessions_recovered"],
        "takeover_s": taken,
        "recovery_s": recovered,
    }


async def _rejoined(front: Served) -> float:
    """How often the front end has joined a session at another engine."""
    return sum(value for name, value in (await front.metrics()).items() if name.startswith(REJOINS))


async def _front_loss(plan: ClusterPlan, front: Served, flags: tuple[str, ...], report: Report) -> dict[str, Any]:
    """The front end is killed, and another begun in its place: its clients come back by themselves."""
    heard = [Heard() for _ in range(plan.sessions)]
    async with (
        _sessions(plan, front.url, plan.sessions) as clients,
        _tasks(*_listening(clients, heard)),
    ):
        async with asyncio.timeout(LEAD_SECONDS):
            while not all(one.account.frames > FRAMES for one in heard):
                await asyncio.sleep(0.1)
        killed = time.monotonic()
        os.kill(front.pid, signal.SIGKILL)
        report("the front end is killed")
        await front.process.wait()
        async with served((*flags, "--port", str(front.port)), report):
            async with asyncio.timeout(BACK_SECONDS):
                while not all(client.resumed for client in clients):
                    await asyncio.sleep(0.02)
            back = time.monotonic() - killed
            await asyncio.sleep(AFTERWARDS)
            report(f"all clients hear again after {back:.2f} s, most of which another front end takes to begin")
            for client in clients:
                await client.send(Close())
    return {
        "frontend_samples_lost": sum(one.account.missing for one in heard),
        "frontend_samples_duplicated": sum(one.account.duplicated for one in heard),
        "frontend_resumed": sum(client.resumed for client in clients),
        "frontend_back_s": back,
    }


# What they share ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _sessions(plan: ClusterPlan, url: str, count: int, pacing: Any = "live") -> AsyncIterator[list[SafaClient]]:
    """Clients with a session each, closed in the end."""
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(count):
            client = await stack.enter_async_context(SafaClient.connect(url))
            ahead = AHEAD if pacing == "live" else None
            await _open(client, plan.scene(number), pacing=pacing, lead=LEAD, ahead=ahead)
            clients.append(client)
        yield clients
        for client in clients:
            with suppress(FailureError):
                await client.send(Close())


async def _open(client: SafaClient, scene: dict[str, Any], **fields: Any) -> None:
    """Open a session, as soon as there is room: an engine that was killed is replaced in time. Raises Refused."""
    end = time.monotonic() + LEAD_SECONDS
    while True:
        try:
            await client.open(scene, **fields)
        except Refused as error:
            if error.answer["code"] != "admission" or time.monotonic() > end:
                raise
            await asyncio.sleep(0.25)
        else:
            return


@asynccontextmanager
async def _doomed(flags: tuple[str, ...], report: Report) -> AsyncIterator[Served]:
    """A server whose end by SIGKILL is none that has to be told of."""
    front: Served | None = None
    try:
        async with served(flags, report) as front:
            yield front
    except FailureError:
        if front is None or front.process.returncode != -signal.SIGKILL:
            raise


@asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Beside the block; what goes wrong in them is raised when it ends."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(found, Exception):
                raise found


def _listening(clients: Sequence[SafaClient], heard: Sequence[Heard]) -> list[Coroutine[Any, Any, None]]:
    async def listen(client: SafaClient, one: Heard) -> None:
        async for frame in client:
            one.take(frame, time.monotonic())

    return [listen(client, one) for client, one in zip(clients, heard, strict=True)]


async def _bring(head: RayHead, client: SafaClient, engine: str) -> None:
    """Have a client's session at an engine."""
    session = client.opened["session"]
    route = await head.where(session, 10.0)
    if route is None:
        raise FailureError(f"session {session} is nowhere")
    if route.engine != engine:
        await head.move(session, engine)


async def _has_lead(head: RayHead, clients: Sequence[SafaClient]) -> None:
    """Wait until all sessions have the sound ahead that bridges a loss."""
    async with asyncio.timeout(LEAD_SECONDS):
        while True:
            sessions = (await head.status())["sessions"]
            if min(sessions[client.opened["session"]]["lead"] for client in clients) >= AHEAD:
                return
            await asyncio.sleep(0.25)
