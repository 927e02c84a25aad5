"""`bench soak`: live sessions for as long as one likes, some of them attacked; the others must not notice."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from safa_server.client import Refused, SafaClient
from safa_server.control import Close
from safa_server.measuring.hostile import WITNESSED_FORMAT, Deeds, Target, attackers
from safa_server.measuring.listening import Listening, Watch
from safa_server.measuring.processes import busy_seconds, cpu_seconds, load
from safa_server.measuring.servers import Report, Running, running
from safa_stream.errors import FailureError, UsageError
from safa_stream.scene import parse_prompts
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.state import BACK_SECONDS

#: Sessions of one soak at most, and what they sound like.
MOST_SESSIONS = 64
PROMPTS = ("rain", "wind", "waves", "campfire, birds:0.3")
FIRST_AUDIO_SECONDS = 120.0
#: Sessions keep what was played for so long; then memory should stand still.
WARM_SECONDS = 1.5 * BACK_SECONDS
#: Growth of memory that a run with a whole warm-up may show.
MOST_GROWTH = 0.03
#: How far behind the clock a session may end: the sound that is on its way, and a busy moment.
MOST_LAG_SECONDS = 2.5
#: Share of the cores that other programs may have used where sessions that ran dry are held against the server.
MOST_OTHERS = 0.1
#: Lines of the server's log that are told.
MOST_ALARMS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakPlan:
    """What is run. layers: what the server admits (None: by its measured speed); steps: None for the model's."""

    seconds: float
    sessions: int = 4
    model: str = "builtin"
    backend: str = "auto"
    steps: int | None = None
    layers: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.sessions <= MOST_SESSIONS:
            raise UsageError(f"a soak has 2 to {MOST_SESSIONS} sessions, half of them attacked, not {self.sessions}")

    def scene(self, number: int) -> dict[str, Any]:
        """The scene of a session."""
        layer = LayerScene(0, parse_prompts(PROMPTS[number % len(PROMPTS)]), seed=self.seed + number)
        return LiveScene((layer,), steps=self.steps, model=self.model).as_dict()

    def flags(self) -> tuple[str, ...]:
        """The server's."""
        layers = () if self.layers is None else ("--layers", str(self.layers))
        return ("--model", self.model, "--backend", self.backend, *layers)


async def soak(plan: SoakPlan, report: Report) -> dict[str, Any]:
    """All figures as JSON values; `broken` says in words what should not have been.

    Raises FailureError where the server takes fewer than two sessions, or ends.
    """
    watch, deeds, chance, busy = Watch(), Deeds(), random.Random(plan.seed), load()
    async with running(plan.flags(), report) as server, _sessions(server, plan) as sessions:
        ended: list[str] = []
        async with _tasks(*(_survive(one, ended) for one in sessions)):
            await _all_heard(sessions)
            attacked = [one for one in sessions if one.attacked]
            report(
                f"{len(sessions)} of {plan.sessions} sessions play; {len(attacked)} of them are attacked from now on"
            )
            attacks = [attack for one in attacked for attack in attackers(_target(server, one), deeds, chance)]
            began, others = time.monotonic(), _others(server)
            async with _tasks(watch.look(server, sessions, report), *attacks) as tasks:
                # Whoever ends before that has failed, and is heard of when the context is left.
                await asyncio.wait(tasks, timeout=plan.seconds, return_when=asyncio.FIRST_COMPLETED)
                lasted = time.monotonic() - began
            others = (_others(server) - others) / (lasted * (os.cpu_count() or 1))
            # What is on its way still counts.
            await asyncio.sleep(1.0)
            lags = [one.lag for one in sessions]
        ended += [f"a session was told: {one.told}" for one in sessions if one.told]
        found = _figures(plan, sessions, watch, deeds, lags, lasted)
        found["alarms"] = server.alarms()[:MOST_ALARMS]
        found |= {"load_before": busy, "cpu_others": max(0.0, others)}
    return {**found, "broken": broken(found, ended), "not_judged": not_judged(found)}


def broken(found: dict[str, Any], ended: list[str]) -> list[str]:
    """What a run must not show."""
    wrong = list(ended)
    for name in ("underruns", "samples_missing", "samples_duplicated", "sequence_disagreements"):
        if found[name] and not (name == "underruns" and not_judged(found)):
            wrong.append(f"{name} {found[name]}, expected was 0")
    if found["altered_frames"] or found["resumed_missing"] or found["resumed_duplicated"]:
        wrong.append("who came back got other samples than were sent before, or not all")
    if found["warm_seconds"] >= WARM_SECONDS and abs(found["rss_growth"]) > MOST_GROWTH:
        wrong.append(f"memory grew by {100 * found['rss_growth']:.1f} %, expected were 3 % at most")
    if found["lag_seconds"] > MOST_LAG_SECONDS:
        wrong.append(f"a session was {found['lag_seconds']:.1f} s behind the clock at the end")
    if found["alarms"]:
        wrong.append(f"the server's log has what no client may cause: {found['alarms'][0]}")
    return wrong


def not_judged(found: dict[str, Any]) -> list[str]:
    """What cannot be held against the server, and why."""
    if not found["underruns"] or found["cpu_others"] <= MOST_OTHERS:
        return []
    return [f"{found['underruns']} underruns: other programs took {100 * found['cpu_others']:.0f} % of the cores"]


def _others(server: Running) -> float:
    """CPU seconds so far of all processes but the server and this one."""
    return busy_seconds() - cpu_seconds(server.pid) - time.process_time()


def _figures(
    plan: SoakPlan, sessions: list[Listening], watch: Watch, deeds: Deeds, lags: list[float], lasted: float
) -> dict[str, Any]:
    calm = [one for one in sessions if not one.attacked]
    warm = min(WARM_SECONDS, lasted / 2)
    return {
        "seconds": lasted,
        "sessions": len(sessions),
        "sessions_wanted": plan.sessions,
        "sessions_attacked": len(sessions) - len(calm),
        "underruns": sum(one.underruns for one in calm),
        "underruns_attacked": sum(one.underruns for one in sessions if one.attacked),
        "underruns_counted": watch.metrics.get("safa_underruns_total", 0.0),
        "fewer_steps": sum(one.fewer_steps for one in calm),
        "rss_growth": watch.growth(warm),
        "rss_mb": [round(size / 1e6, 1) for _, size in watch.readings[:: max(1, len(watch.readings) // 60)]],
        "rss_last_mb": watch.readings[-1][1] / 1e6,
        "warm_seconds": warm,
        "samples": sum(one.account.samples for one in sessions),
        "samples_missing": sum(one.account.missing for one in sessions),
        "samples_duplicated": sum(one.account.duplicated for one in sessions),
        "samples_told_dropped": sum(one.dropped for one in sessions),
        "sequence_disagreements": sum(one.account.disagreements for one in sessions),
        "reconnects_of_listeners": sum(one.client.resumed for one in sessions),
        "lag_seconds": max(lags),
        "hostile": dict(sorted(deeds.counts.items())),
        "resumed_samples": deeds.resumed.samples,
        "resumed_missing": deeds.resumed.missing,
        "resumed_duplicated": deeds.resumed.duplicated,
        "compared_frames": deeds.compared,
        "altered_frames": deeds.altered,
        "steps": plan.steps,
    }


@asynccontextmanager
async def _sessions(server: Running, plan: SoakPlan) -> AsyncIterator[list[Listening]]:
    """As many sessions as are wanted, or as the server takes; the second half of them is to be attacked."""
    async with AsyncExitStack() as stack:
        clients: list[SafaClient] = []
        for number in range(plan.sessions):
            client = await stack.enter_async_context(SafaClient.connect(server.url))
            try:
                await client.open(plan.scene(number), format=WITNESSED_FORMAT)
            except Refused as refused:
                if refused.answer["code"] != "admission" or len(clients) < 2:
                    raise
                break
            clients.append(client)
        calm = (len(clients) + 1) // 2
        sessions = [Listening(client, number >= calm) for number, client in enumerate(clients)]
        yield sessions
        for client in clients:
            with suppress(FailureError, Refused):
                await client.send(Close())


async def _survive(one: Listening, ended: list[str]) -> None:
    """Listen; a session that ends is no reason to stop looking at the others."""
    try:
        await one.listen()
    except FailureError as error:
        ended.append(f"{'an attacked' if one.attacked else 'an undisturbed'} session ended: {error}")


async def _all_heard(sessions: list[Listening]) -> None:
    try:
        async with asyncio.timeout(FIRST_AUDIO_SECONDS):
            while not all(one.began for one in sessions):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise FailureError(f"not every session was heard within {FIRST_AUDIO_SECONDS:g} s") from None


@asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Done beside what is in the context, and cancelled at its end."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        errors = [task.exception() for task in tasks if not task.cancelled()]
    for error in errors:
        if error is not None:
            raise error


def _target(server: Running, one: Listening) -> Target:
    opened = one.client.opened
    return Target(server.host, server.port, opened["session"], opened["token"], one.witness)
