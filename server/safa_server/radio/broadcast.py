"""A session on the radio: one way out, its bounded queue, and what happens when the other end goes away.

A broadcast hears the session like any listener and holds nobody up: it takes blocks into its tap, at most
`QUEUE_SECONDS` of them, and a task of its own sends them. What the other end does not take in time is dropped, the
oldest first, and counted. Where the other end is gone, the way is taken again, with longer and longer pauses.

    station ─ blocks ─► tap ─► line: ffmpeg ─► Icecast, or GStreamer ─► RTP
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from safa_server.blocks import Block
from safa_server.radio.tap import Tap
from safa_server.radio.way import Line, Way
from safa_server.station import LONGEST_CATCH_UP, Station
from safa_stream.errors import FailureError, UsageError

#: A live clock that was held up lets so much out at once, which is no fault of the other end.
QUEUE_SECONDS = LONGEST_CATCH_UP
POLL_SECONDS = 0.02
#: An other end that takes nothing so long has gone.
STALL_SECONDS = 10.0
FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0
#: A line that held so long was a good one: after it the pauses are short again.
GOOD_SECONDS = 10.0
CLOSE_SECONDS = 2.0
#: Titles change, and losses are told, once in so many seconds at most.
TITLE_SECONDS, TELL_SECONDS = 2.0, 10.0


@dataclass(frozen=True, slots=True)
class BroadcastEvent:
    """What happened to a broadcast, one line for people. name: "connected", "waiting", "lost", "back" or "gap"."""

    name: str
    position: int
    text: str


@dataclass(frozen=True, slots=True)
class BroadcastStatus:
    """How it stands. Counters run since the beginning, over every new line.

    sent: samples handed on, silence while the session rests among them; dropped: samples that were too many for the
    other end; missing: samples of silence because the session was behind the clock of the way out; unheard: samples
    that waited when a line broke, or came while there was none; lost: lines that broke.
    """

    name: str
    connected: bool = False
    sent: int = 0
    dropped: int = 0
    missing: int = 0
    unheard: int = 0
    lost: int = 0


class Broadcast:
    """Sends one session one way. `await start()`, later `await stop()`; everything on the event loop."""

    def __init__(self, station: Station, way: Way, report: Callable[[BroadcastEvent], None]) -> None:
        self._station, self._way, self._report = station, way, report
        self._tap = Tap(station.rate, station.channels, QUEUE_SECONDS, way.clocked)
        self._status = BroadcastStatus(way.name)
        self._line: Line | None = None
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._came, self._stopping = asyncio.Event(), asyncio.Event()
        self._wait, self._told, self._tell_from = FIRST_RETRY, (0, 0), 0.0

    @property
    def status(self) -> BroadcastStatus:
        """How it stands."""
        return replace(self._status, dropped=self._tap.dropped, missing=self._tap.missing)

    async def start(self) -> None:
        """Begin. An other end that is not there yet is waited for. Raises UsageError for what can never be: a program
        that is missing, a password that is wrong."""
        self._way.check()
        try:
            await self._connect()
            self._tell("connected", f"{self._way.name} hears the session")
        except FailureError as error:
            self._tell("waiting", f"{error}; trying again")
        self._unsubscribe = self._station.on_block(self._take)
        self._task = asyncio.create_task(self._run(), name=f"broadcast {self._way.name}")

    async def stop(self) -> None:
        """Send what is on its way, and leave."""
        self._stopping.set()
        self._unsubscribe()
        if self._task is not None:
            await self._task
        if self._line is not None:
            with contextlib.suppress(FailureError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    while (samples := self._tap.pull()) is not None:
                        await self._line.send(samples)
            await self._line.finish(CLOSE_SECONDS)
        self._line, self._status = None, replace(self._status, connected=False)

    def _take(self, block: Block) -> None:
        if self._line is None:
            self._unheard(block.samples.shape[1])
            return
        self._tap.push(block.samples, time.monotonic())
        self._came.set()

    def _unheard(self, samples: int) -> None:
        self._status = replace(self._status, unheard=self._status.unheard + samples)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            if self._line is None:
                await self._come_back()
                continue
            began, line = time.monotonic(), self._line
            lost = await self._hold(line)
            if lost is not None:
                self._line = None
                self._status = replace(self._status, connected=False, lost=self._status.lost + 1)
                self._unheard(self._tap.clear())
                if time.monotonic() - began > GOOD_SECONDS:
                    self._wait = FIRST_RETRY
                self._tell("lost", f"{self._way.name} is gone ({lost}); trying again")
                await line.end()

    async def _hold(self, line: Line) -> str | None:
        """Send until the line is lost (says how) or the broadcast ends (None)."""
        tasks = [asyncio.create_task(work) for work in (self._send(line), line.lost(), self._titles(line))]
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        ended = [task.result() for task in tasks if task.done()]
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.wait({*tasks, stopping})
        return None if self._stopping.is_set() or not ended else ended[0]

    async def _send(self, line: Line) -> str:
        while True:
            samples = self._tap.pull()
            if samples is None:
                self._came.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._came.wait()
                (self._tap.rest if self._rests() else self._tap.keep_up)(time.monotonic())
                continue
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await line.send(samples)
            except (TimeoutError, FailureError) as error:
                self._unheard(samples.shape[1])
                return str(error) or f"it took nothing for {STALL_SECONDS:g} s"
            self._status = replace(self._status, sent=self._status.sent + samples.shape[1])
            self._tell_gaps()

    def _rests(self) -> bool:
        """Is silence wanted: while nothing was made yet, while the session is paused, and when it is over?"""
        return self._station.closed or not self._station.playing or self._station.first_block_at is None

    async def _titles(self, line: Line) -> str:
        """Tell the other end what is heard, whenever that has changed."""
        told = None
        while True:
            title = title_of(self._station.state())
            if title != told:
                await line.tell(title)
                told = title
            await asyncio.sleep(TITLE_SECONDS)

    async def _connect(self) -> None:
        line = await self._way.connect(title_of(self._station.state()))
        self._line, self._status = line, replace(self._status, connected=True)

    async def _come_back(self) -> None:
        """Take the way again, after longer and longer pauses."""
        began, said = time.monotonic(), ""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait):
                    await self._stopping.wait()
                    return
            self._wait = min(2 * self._wait, LONGEST_RETRY)
            try:
                await self._connect()
            except (UsageError, FailureError) as error:
                if str(error) != said:
                    said = str(error)
                    self._tell("waiting", f"{said}; trying again")
                continue
            self._tell("back", f"{self._way.name} hears the session again after {time.monotonic() - began:.1f} s")
            return

    def _tell(self, name: str, text: str) -> None:
        self._report(BroadcastEvent(name, self._station.position, text))

    def _tell_gaps(self) -> None:
        now, dropped, missing = time.monotonic(), self._tap.dropped, self._tap.missing
        more = (dropped - self._told[0], missing - self._told[1])
        if any(more) and now >= self._tell_from:
            self._told, self._tell_from = (dropped, missing), now + TELL_SECONDS
            slow, late = (count / self._station.rate for count in more)
            self._tell(
                "gap", f"{self._way.name}: {slow:.2f} s left out as it was slow, {late:.2f} s of sound came late"
            )


def title_of(state: dict[str, Any]) -> str:
    """What a session sounds like, for people: the prompts of its layers that are heard."""
    heard = [str(layer["prompts"]) for layer in state["layers"] if not layer["ending"] and not layer["mute"]]
    words = " + ".join(dict.fromkeys(heard)) or "silence"
    return "".join(letter if letter.isprintable() else " " for letter in words)
