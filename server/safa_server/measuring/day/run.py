"""The day from its first sample to its last, and what has to be said of it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from safa_server import memory
from safa_server.blocks import BLOCK
from safa_server.client import SafaClient
from safa_server.control import Close
from safa_server.loop_errors import handle
from safa_server.measuring.day.clients import RATE, Conductor, Guest, Puller, guests, opened, visit
from safa_server.measuring.day.faults import Faults
from safa_server.measuring.day.hearing import Heard
from safa_server.measuring.day.places import HOST, Cluster
from safa_server.measuring.day.verdict import Verdict, judged
from safa_server.measuring.day.weather import SlowNetwork
from safa_server.measuring.processes import load, resident_bytes
from safa_server.measuring.servers import Report
from safa_server.storage import JOURNAL, LONGEST_UNWRITTEN
from safa_stream.errors import FailureError, SafaError

DAY = 24 * 3600.0
#: Seconds of the programme between two faults, two changes of its scene, and two readings of memory.
FAULT_EVERY, CHANGE_EVERY, LOOK_EVERY = 600.0, 300.0, 600.0
#: Guests of a whole day.
JOINS = 1000
#: Memory is judged from this share of the readings on, and may grow by this share of it.
WARM, GROWTH = 0.25, 0.10
#: A session that was closed so soon after the disk refused something may lack its last lines there, wall seconds.
JUST_NOW = 1.0
#: Nobody looks for the files of a session that has ended so long ago, wall seconds.
FORGOTTEN = 5.0
#: So many readings are in a fifth at least.
LEAST_READINGS = 3
#: Frames by which the journal of a session that is open may be behind.
UNWRITTEN = round(LONGEST_UNWRITTEN * RATE / BLOCK)
#: Whoever looks whether it is time for something does so this often, wall seconds.
LOOK = 0.02


@dataclass(frozen=True, slots=True)
class DayPlan:
    """hours: of the programme; fault_every: its seconds between two faults; joins: guests in all, as many as a whole
    day's share if None."""

    hours: float = 24.0
    seed: int = 0
    fault_every: float = FAULT_EVERY
    joins: int | None = None

    @property
    def samples(self) -> int:
        """Of the programme, whole blocks."""
        return round(self.hours * 3600 * RATE / BLOCK) * BLOCK

    @property
    def guests(self) -> int:
        """How many come."""
        return round(JOINS * self.hours * 3600 / DAY) if self.joins is None else self.joins


@dataclass
class Day:
    """What has happened so far."""

    plan: DayPlan
    folder: Path
    report: Report
    cluster: Cluster
    network: SlowNetwork = field(default_factory=SlowNetwork)
    counts: Counter[str] = field(default_factory=Counter)
    others: list[Heard] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    memory: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the front end is."""
        return f"ws://{HOST}:{self.cluster.front}/ws"


async def day(plan: DayPlan, report: Report) -> dict[str, Any]:
    """Let the day pass; gives its figures, and what was `broken`. Raises SafaError where it cannot be begun."""
    asyncio.get_running_loop().set_exception_handler(handle)
    memory.give_back_what_is_free()
    folder = Path(tempfile.mkdtemp(prefix="safa-day-"))
    try:
        return await _passed(Day(plan, folder, report, Cluster(folder)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _passed(all: Day) -> dict[str, Any]:
    plan, chance, busy = all.plan, random.Random(all.plan.seed), load()
    coming = guests(chance, plan.guests, max(RATE + 1, plan.samples - 60 * RATE))
    began = time.monotonic()
    trimming = asyncio.create_task(memory.keep_giving_back())
    async with all.cluster.up(), all.network.to(HOST, lambda: all.cluster.front) as slow:
        fields = {"pacing": "pull", "format": "f32", "lead": 20.0}
        async with opened(f"ws://{HOST}:{slow}/ws", "rain, wind:0.5", all.counts, **fields) as programme:
            faults = Faults(all.cluster, all.network, programme)
            conductor = Conductor(chance)
            async with (
                _beside(
                    _every(programme, plan.fault_every, lambda: _fault(all, faults)),
                    _every(programme, CHANGE_EVERY, lambda: _changed(all, conductor, programme)),
                    _every(programme, LOOK_EVERY, lambda: _look(all, programme)),
                    _all_come(all, coming, programme),
                ) as times,
                _live(all) as live,
            ):
                try:
                    await programme.hear(plan.samples)
                except FailureError as error:
                    all.lost.append(f"the programme: {error}")
                lasted = time.monotonic() - began
                await times.joined()
                live.over = True
                await _look(all, programme)
                unwritten = [await _close(one) for one in (programme, live)]
        all.report("the programme is over: its journal is replayed")
        joined = [*all.others, programme.heard]
        judging = time.monotonic()
        all.verdict += _allowed(await asyncio.to_thread(judged, all.folder, programme.session, joined), unwritten[0])
        judging = time.monotonic() - judging
        if live.client.opened:
            all.verdict += _allowed(
                await asyncio.to_thread(judged, all.folder, live.session, [live.heard]), unwritten[1]
            )
        all.cluster.end_head()
    trimming.cancel()
    return _figures(all, faults, programme, live, {"lasted": lasted, "judging": judging, "load": busy})


async def _close(one: Puller) -> int:
    """End a session; gives how many frames may have been heard that its journal does not say yet."""
    try:
        await one.client.send(Close())
    except FailureError:  # it is changing hands, and goes on
        return UNWRITTEN
    return 0


def _allowed(found: Verdict, unwritten: int) -> Verdict:
    return replace(found, unknown=max(0, found.unknown - unwritten))


# What goes on beside the programme ----------------------------------------------------------------------------------


class _Beside:
    """Tasks beside the programme: repeated ones, which end with it, and one that is waited for."""

    def __init__(self, tasks: list[asyncio.Task[None]]) -> None:
        self._tasks = tasks

    async def joined(self) -> None:
        """Wait for the last one and for what the others are at."""
        await asyncio.gather(*self._tasks)


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[_Beside]:
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield _Beside(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _every(programme: Puller, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do something whenever the programme has gone on for so long, until its end."""
    number = 1
    while (at := round(number * seconds * RATE)) < programme.until:
        while programme.position < at:
            if programme.over:
                return
            await asyncio.sleep(LOOK)
        await work()
        number = max(number + 1, int(programme.position / RATE // seconds))


async def _fault(all: Day, faults: Faults) -> None:
    name = await faults.next()
    at = faults.programme.position / RATE / 3600
    silence = faults.times[name].silences[-1]
    all.report(f"{at:5.2f} h: {name.replace('_', ' ')}, the programme was silent for {silence:.2f} s")


async def _changed(all: Day, conductor: Conductor, programme: Puller) -> None:
    all.counts["changes"] += 1
    try:
        all.counts["changes_unanswered"] += not await conductor.change(programme.client)
    except SafaError as error:
        all.counts["changes_refused"] += 1
        all.report(f"a change was refused: {error}")


async def _look(all: Day, programme: Puller) -> None:
    """Read how much memory is used, and how much is on the disk beside journals."""
    # What a dead process leaves, the system takes back at once; here it waits for the collector.
    await asyncio.to_thread(gc.collect)
    all.memory.append(resident_bytes(os.getpid()))
    all.kept.append(await asyncio.to_thread(_bytes_in, all.folder, False))


async def _all_come(all: Day, coming: list[Guest], programme: Puller) -> None:
    async with asyncio.TaskGroup() as group:
        for guest in coming:
            while programme.position < guest.at and not programme.over:
                await asyncio.sleep(LOOK)
            if programme.over:
                return
            group.create_task(_visited(all, guest, programme))


async def _visited(all: Day, guest: Guest, programme: Puller) -> None:
    all.counts["joins"] += 1
    try:
        session, heard = await visit(guest, all.url, programme, all.counts)
    except FailureError as error:
        if not programme.over:
            all.lost.append(f"a guest: {error}")
        return
    full = all.cluster.disk.refused_within(JUST_NOW)
    if session == programme.session:
        all.others.append(heard)
        return
    found = await asyncio.to_thread(judged, all.folder, session, [heard])
    if guest.rude:
        # The session is still waiting for it, and its journal says what was heard after the next half second.
        found = _allowed(found, UNWRITTEN)
    if full:
        # What its journal was waiting to say when it ended, the disk never took; the sound is not less for it.
        all.counts["frames_ended_on_a_full_disk"] += found.unknown
        found = replace(found, unknown=0)
    if found.unknown or found.differing:
        all.report(f"{guest} heard in session {session} what its journal does not make: {found}")
    all.verdict += found
    all.counts["sessions"] += 1
    _account(all.counts, heard, "a guest's session")
    if not guest.rude:
        # Its journal was kept to be replayed, which has been done; the head knows by then that it has ended.
        await asyncio.sleep(FORGOTTEN)
        await asyncio.to_thread(shutil.rmtree, all.folder / session, ignore_errors=True)


@asynccontextmanager
async def _live(all: Day) -> AsyncIterator[Puller]:
    """Somebody hears live sound, by the wall clock, all the while."""
    async with SafaClient.connect(all.url) as client:
        await client.open("birds", format="f32", lead=20.0)
        live = Puller(client)

        async def listen() -> None:
            try:
                async for frame in client:
                    live.heard.take(client, frame)
                if not live.over:
                    all.lost.append("the live session was closed")
            except FailureError as error:
                all.lost.append(f"the live session: {error}")

        listening = asyncio.create_task(listen())
        try:
            yield live
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


# What is said of it -------------------------------------------------------------------------------------------------


def _account(counts: Counter[str], heard: Heard, whose: str) -> None:
    account = heard.account
    missing = account.missing - heard.told
    counts[f"lost by {whose}"] += missing
    counts["told"] += heard.told
    counts["samples"] += account.samples
    counts["lost"] += missing
    counts["doubled"] += account.duplicated
    counts["disagreements"] += account.disagreements + heard.contradictions


def _figures(all: Day, faults: Faults, programme: Puller, live: Puller, walls: dict[str, float]) -> dict[str, Any]:
    counts, hours = all.counts, programme.position / RATE / 3600
    for whose, ones in (("guests", all.others), ("the programme", [programme.heard]), ("live sound", [live.heard])):
        for one in ones:
            _account(counts, one, whose)
    silences = {name: one.silences for name, one in faults.times.items()}
    found: dict[str, Any] = {
        "hours": hours,
        "pace": hours * 3600 / walls["lasted"],
        "wall_s": walls["lasted"],
        "sessions": counts["sessions"] + 2,
        "session_hours": counts["samples"] / RATE / 3600,
        "samples": counts["samples"],
        "samples_lost": counts["lost"],
        "samples_dropped_and_told": counts["told"],
        "told_by_programme": programme.heard.told + live.heard.told,
        "samples_doubled": counts["doubled"],
        "disagreements": counts["disagreements"],
        "frames_replayed": all.verdict.compared,
        "frames_differing": all.verdict.differing,
        "frames_not_in_journal": all.verdict.unknown,
        "frames_ended_on_a_full_disk": counts["frames_ended_on_a_full_disk"],
        "replay_s": walls["judging"],
        "live_underruns": live.heard.underruns,
        "faults": sum(len(one) for one in silences.values()),
        "silence_s": {name: float(np.median(one)) for name, one in silences.items()},
        "silence_worst_s": {name: max(one) for name, one in silences.items()},
        "silence_longest_s": max((max(one) for one in silences.values()), default=0.0),
        "fenced": faults.fenced,
        "unfenced": faults.unfenced,
        **all.cluster.counts,
        "joins": counts["joins"],
        "refused": counts["refused"],
        "listeners_lost": len(all.lost),
        "reconnects": programme.client.resumed,
        "stalls": counts["stalls"],
        "frames_not_granted": counts["frames_not_granted"],
        "changes": counts["changes"],
        "changes_unanswered": counts["changes_unanswered"],
        "disk_refused": all.cluster.disk.refused,
        "memory_first_mb": all.memory[0] / 1e6,
        "memory_last_mb": all.memory[-1] / 1e6,
        "memory_mb": [round(one / 1e6, 1) for one in all.memory],
        "memory_growth": _growth(all.memory),
        "kept_mb_most": max(all.kept) / 1e6,
        "journal_mb": _bytes_in(all.folder, True) / 1e6,
        "seed": all.plan.seed,
        "load_before": walls["load"],
    }
    return {**found, "broken": _broken(found, all, faults)}


def _growth(memory: list[int]) -> float | None:
    """From the first to the last fifth of the readings that are judged; None where they are too few."""
    late = memory[int(WARM * len(memory)) :]
    fifth = len(late) // 5
    return float(np.median(late[-fifth:]) / np.median(late[:fifth])) - 1.0 if fifth >= LEAST_READINGS else None


def _broken(found: dict[str, Any], all: Day, faults: Faults) -> list[str]:
    nothing = (
        "samples_lost",
        "samples_doubled",
        "disagreements",
        "frames_differing",
        "frames_not_in_journal",
        "told_by_programme",
        "live_underruns",
        "unfenced",
        "sessions_lost",
        "stalls",
        "frames_not_granted",
    )
    broken = [f"{name.replace('_', ' ')}: {found[name]}" for name in nothing if found.get(name)]
    broken += [f"{one} is not what the journal makes" for one in all.verdict.where]
    broken += [*all.lost, *faults.failed]
    broken += [f"samples {name}: {count}" for name, count in all.counts.items() if name.startswith("lost by") and count]
    if all.counts["changes_refused"]:
        broken.append(f"changes of the scene that were refused: {all.counts['changes_refused']}")
    if (found["memory_growth"] or 0.0) > GROWTH:
        broken.append(f"memory grew by {found['memory_growth']:.0%}")
    return broken


def _bytes_in(folder: Path, journals: bool) -> int:
    """Of all files of sessions, journals or the others."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            # Some have just been removed.
            with suppress(OSError):
                total += (Path(place) / name).stat().st_size if (name == JOURNAL) == journals else 0
    return total
