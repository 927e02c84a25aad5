"""A session on a sound device: the device's process, its pace, and what happens when the device goes away.

The device is the clock. What it has consumed is granted to the session as credit, so the session runs as fast as the
device does and no clock drifts against another: no sample is dropped, doubled or stretched, however long it plays. Only
while the device is away the server's clock takes its place, so that the session and others who listen go on.

    station ─ blocks ─► pipe ─► device_process: resampler ─► ring ─► PortAudio ─► device
       ▲                                                      │
       └────────── grant ◄──── figures, every 20 ms ◄─────────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from safa_server.blocks import BLOCK, Block
from safa_server.device_pipe import DeviceProcess
from safa_server.device_process import Order
from safa_server.station import Station
from safa_stream.channels import channel_map
from safa_stream.errors import FailureError, UsageError

POLL_SECONDS = 0.02
#: A device that asks for nothing so long has gone; a null sink may take two seconds to begin.
STALL_SECONDS = 5.0
FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0
#: While the device is away and the session is late, at most so much is caught up.
AWAY_SECONDS = 1.0
#: Sound that was late although the engine had made it doubles the buffer, up to this many seconds.
LARGEST_GROWN = 1.0
#: The ring's room beyond the buffer, seconds; the share of the buffer that must be there for sound to begin.
SPARE_SECONDS, REFILL = 1.0, 0.5
#: Underruns are told once in so many seconds at most.
TELL_SECONDS = 1.0
LEAST_BUFFER, LARGEST_BUFFER = 0.04, 5.0
LEAST_LATENCY, LARGEST_LATENCY = 0.001, 2.0


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """Which device and how. name: None is the default device; rate, channels: None is what suits the sound.

    channel_map: which of its outputs gets which of the session's channels, as `channels.channel_map` reads it; without
    one they follow each other, one output gets the mean of the first pair, and outputs beyond them stay silent.
    buffer: seconds of sound kept between session and device at first; it grows where this machine turns out to need
    more. latency: seconds that the device itself is asked for. Both together are the way from a command to the ear.
    Raises UsageError for what is out of range.
    """

    name: str | None = None
    rate: int | None = None
    channels: int | None = None
    buffer: float = 0.2
    latency: float = 0.1
    channel_map: str | None = None

    def __post_init__(self) -> None:
        if self.channel_map is not None:
            channel_map(self.channel_map)
        if not LEAST_BUFFER <= self.buffer <= LARGEST_BUFFER:
            raise UsageError(
                f"the device's buffer must be {LEAST_BUFFER:g} to {LARGEST_BUFFER:g} s, not {self.buffer:g}"
            )
        if not LEAST_LATENCY <= self.latency <= LARGEST_LATENCY:
            raise UsageError(
                f"the device's latency must be {LEAST_LATENCY:g} to {LARGEST_LATENCY:g} s, not {self.latency:g}"
            )


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """What happened to the device, one line for people. name: "opened", "lost", "back" or "underrun"."""

    name: str
    position: int
    text: str


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """How it stands. Counters run since the beginning, over every reconnection.

    latency: seconds that the device adds, None where it does not know; buffered: seconds between session and device;
    underruns: times that sound was late; missing: seconds of silence by that; dropped: samples that found no room,
    because somebody else granted some, too; unheard: samples that left the session while the device was away.
    """

    device: str | None = None
    rate: int = 0
    channels: int = 0
    open: bool = False
    latency: float | None = None
    buffered: float = 0.0
    underruns: int = 0
    missing: float = 0.0
    dropped: int = 0
    unheard: int = 0
    lost: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class DeviceOutput:
    """Plays one session that takes credits. `await start()`, later `await stop()`; everything on the event loop."""

    def __init__(self, station: Station, request: DeviceRequest, report: Callable[[DeviceEvent], None]) -> None:
        if station.pacing == "live":
            raise UsageError("a sound device sets the pace: open its session with pacing 'device', not 'live'")
        self._station, self._request, self._report = station, request, report
        self._status = DeviceStatus()
        self._child: DeviceProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._granted = self._received = 0
        self._buffer, self._seen_underruns = request.buffer, 0
        self._told_underruns, self._tell_from = 0, 0.0
        self._stopping = asyncio.Event()

    @property
    def status(self) -> DeviceStatus:
        """How it stands."""
        return self._status

    @property
    def heard(self) -> int:
        """The session's sample that comes out of the device now, as far as the device knows its latency."""
        behind = self._status.buffered + (self._status.latency or 0.0)
        return max(0, self._station.position - round(behind * self._station.rate))

    async def start(self) -> None:
        """Open the device and begin. Raises UsageError (no such device, rate, channels) or FailureError."""
        self._child = await self._open(again=False)
        self._unsubscribe = self._station.on_block(self._take)
        self._task = asyncio.create_task(self._run(), name="sound device")
        self._tell("opened", f"playing on {self._status.device}")

    async def stop(self) -> None:
        """Play what the device's process still has, and close it."""
        self._stopping.set()
        self._unsubscribe()
        if self._task is not None:
            await self._task
        if self._child is not None:
            await self._child.finish(2 * self._buffer + (self._status.latency or 0.0))
        self._child, self._status = None, replace(self._status, open=False, buffered=0.0)

    def check(self) -> None:
        """Raise what ended playing before `stop`, if anything did."""
        if self._task is not None and self._task.done():
            self._task.result()

    # Blocks --------------------------------------------------------------------------------------------------------

    def _take(self, block: Block) -> None:
        count = block.samples.shape[1]
        self._received += count
        # Somebody else's credit is not the device's.
        self._granted = max(self._granted, self._received)
        if self._child is None or not self._child.send(block.samples):
            self._status = replace(self._status, unheard=self._status.unheard + count)

    def _grant(self, samples: float) -> None:
        """Allow what is missing to `samples`, beside what was granted and has not arrived, in whole blocks."""
        blocks = int((samples - (self._granted - self._received)) // BLOCK)
        if blocks > 0:
            self._granted += blocks * BLOCK
            self._station.grant(blocks * BLOCK)

    # The device ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._stopping.is_set():
            if self._child is None:
                await self._come_back()
                continue
            lost = await self._play(self._child)
            if lost is not None:
                child, self._child = self._child, None
                self._status = replace(self._status, open=False, buffered=0.0, lost=self._status.lost + 1)
                self._tell("lost", f"{self._status.device} is gone ({lost}); looking for it")
                await child.end()

    async def _play(self, child: DeviceProcess) -> str | None:
        """Feed the device until it is lost (says how) or playing ends (None)."""
        before, station = self._status, self._station
        asked, asked_at = -1, time.monotonic()
        while not self._stopping.is_set():
            if station.closed or not station.playing:
                child.rest()
            try:
                figures = await child.poll()
            except FailureError as error:
                return str(error)
            now = time.monotonic()
            if figures.asked != asked:
                asked, asked_at = figures.asked, now
            if not figures.active:
                return "it stopped"
            if now - asked_at > STALL_SECONDS:
                return f"it asked for no sound for {STALL_SECONDS:g} s"
            rate = before.rate
            buffered = figures.filled / rate + child.unseen / station.rate
            self._status = replace(
                self._status,
                buffered=buffered,
                underruns=before.underruns + figures.underruns,
                missing=before.missing + figures.missing / rate,
                dropped=before.dropped + round(figures.refused * station.rate / rate),
            )
            self._grow()
            self._tell_underruns(now)
            self._grant((self._buffer - buffered) * station.rate)
            await self._pause(POLL_SECONDS)
        return None

    async def _come_back(self) -> None:
        """Wait for the device, with longer and longer pauses; the server's clock goes on meanwhile."""
        began, received, wait = time.monotonic(), self._received, FIRST_RETRY
        while not self._stopping.is_set():
            opening = asyncio.create_task(self._open_after(wait))
            while not opening.done():
                if self._stopping.is_set():
                    opening.cancel()
                due = (time.monotonic() - began) * self._station.rate - (self._received - received)
                self._grant(min(due, AWAY_SECONDS * self._station.rate))
                await asyncio.wait({opening}, timeout=POLL_SECONDS)
            with contextlib.suppress(UsageError, FailureError, asyncio.CancelledError):
                self._child = opening.result()
            if self._child is not None:
                self._tell("back", f"playing on {self._status.device} again after {time.monotonic() - began:.1f} s")
                return
            wait = min(2 * wait, LONGEST_RETRY)

    async def _open_after(self, wait: float) -> DeviceProcess:
        await asyncio.sleep(wait)
        return await self._open(again=True)

    async def _open(self, again: bool) -> DeviceProcess:
        station, request = self._station, self._request
        order = Order(
            request.name,
            station.rate,
            station.channels,
            request.rate,
            request.channels,
            max(self._buffer, LARGEST_GROWN) + SPARE_SECONDS,
            self._buffer * REFILL,
            request.latency,
            again,
            request.channel_map,
        )
        child = await DeviceProcess.open(order)
        self._status = replace(
            self._status,
            device=f"{child.opened['device']} ({child.opened['host_api']})",
            rate=int(child.opened["rate"]),
            channels=int(child.opened["channels"]),
            latency=child.opened["latency"],
            open=True,
        )
        return child

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _tell(self, name: str, text: str) -> None:
        self._report(DeviceEvent(name, self._station.position, text))

    def _grow(self) -> None:
        """A larger buffer, where sound was late that the engine had made in time."""
        if self._status.underruns > self._seen_underruns and self._station.lead > self._buffer:
            self._buffer = max(self._buffer, min(2 * self._buffer, LARGEST_GROWN))
        self._seen_underruns = self._status.underruns

    def _tell_underruns(self, now: float) -> None:
        more = self._status.underruns - self._told_underruns
        if more and now >= self._tell_from:
            self._told_underruns, self._tell_from = self._status.underruns, now + TELL_SECONDS
            silence = f"{self._status.missing:.3f} s of silence so far"
            self._tell("underrun", f"sound was late {more} time(s), {silence}; {self._buffer:g} s are kept ready now")
