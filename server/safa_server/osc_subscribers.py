"""Who is told what happens in a session: events, status and meters at a chosen rate, and sound. All of it expires."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from safa_server.blocks import Block
from safa_server.osc_clock import SampleClock
from safa_server.osc_map import ROOT, SUBSCRIPTION_SECONDS, TIMES, event_address
from safa_server.osc_packet import write_message
from safa_server.osc_peers import same_host
from safa_server.osc_stream import Meter, RingBuffer, audio_packets, levels, ring_packets
from safa_server.station import Station
from safa_stream.errors import UsageError
from safa_stream.session.messages import Event

LARGEST_SUBSCRIBERS = 32
#: Times that a packet may come back as undeliverable before its subscriber is dropped.
MOST_REFUSALS = 5
LOG = logging.getLogger(__name__)


class Destination(Protocol):
    """Where packets go: an address, or a connection."""

    @property
    def key(self) -> Hashable:
        """Equal for the same place."""

    @property
    def host(self) -> str:
        """Its numeric address."""

    def send(self, packet: bytes) -> None:
        """Send without waiting; what cannot be sent is lost."""


@dataclass(slots=True, eq=False)
class Subscriber:
    """One destination. rate: statuses a second, None for no events either; audio: a format of sound, or the buffer
    that it is written into, None for none."""

    where: Destination
    session: str
    root: str
    rate: float | None = None
    until: float = 0.0
    audio: str | RingBuffer | None = None
    audio_until: float = 0.0
    meter: Meter = field(default_factory=Meter)
    timer: asyncio.TimerHandle | None = None
    refusals: int = 0


class Tap:
    """What is heard of one session: its clock, and what its subscribers are sent."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.clock = SampleClock(station.rate)
        self.subscribers: list[Subscriber] = []
        self._ends = (station.on_block(self._block), station.on_event(self._event))

    def close(self) -> None:
        """Hear nothing more."""
        for end in self._ends:
            end()

    def _block(self, block: Block) -> None:
        self.clock.left(block.start, block.clock_ns)
        if not self.subscribers:
            return
        peaks, squares = levels(block.samples)
        coded: dict[tuple[str, str | RingBuffer], list[bytes]] = {}
        for one in list(self.subscribers):
            one.meter.add(block.samples.shape[1], peaks, squares)
            if one.audio is None:
                continue
            key = (one.root, one.audio)
            if key not in coded:
                coded[key] = self._coded(block, one.root, one.audio)
            for packet in coded[key]:
                one.where.send(packet)

    def _coded(self, block: Block, root: str, audio: str | RingBuffer) -> list[bytes]:
        if isinstance(audio, RingBuffer):
            return list(ring_packets(block.samples, block.start, audio))
        return list(audio_packets(root, block.samples, block.start, self.station.rate, audio))

    def _event(self, event: Event) -> None:
        arguments = event_arguments(event, self.station.rate)
        for one in list(self.subscribers):
            if one.rate is not None:
                one.where.send(write_message(one.root + event_address(type(event)).removeprefix(ROOT), *arguments))


class Subscribers:
    """All of them, over all sessions. For one event loop."""

    def __init__(self, find: Callable[[str], Station | None], largest: int = LARGEST_SUBSCRIBERS) -> None:
        self._find, self._largest = find, largest
        self._taps: dict[str, Tap] = {}
        self._all: dict[tuple[Hashable, str], Subscriber] = {}

    def __len__(self) -> int:
        return len(self._all)

    def tap(self, station: Station) -> Tap:
        """What is heard of a session; listening to it begins with the first call."""
        if station.id not in self._taps:
            self._taps[station.id] = Tap(station)
        return self._taps[station.id]

    def add(self, where: Destination, station: Station, root: str, rate: float, now: float) -> None:
        """Events from now on, and `rate` times a second status and meter. Raises UsageError where there is no room."""
        one = self._subscriber(where, station, root)
        one.rate, one.until, one.refusals = rate, now + SUBSCRIPTION_SECONDS, 0
        if one.timer is not None:
            one.timer.cancel()
        one.timer = asyncio.get_running_loop().call_later(0, self._tick, one)

    def add_audio(self, where: Destination, station: Station, root: str, audio: str | RingBuffer, now: float) -> None:
        """Sound from now on, in a format or into a buffer. Raises UsageError where there are too many."""
        one = self._subscriber(where, station, root)
        one.audio, one.audio_until, one.refusals = audio, now + SUBSCRIPTION_SECONDS, 0

    def remove(self, where: Destination, station: Station, audio: bool) -> bool:
        """End one kind of a subscription; False where there was none."""
        one = self._all.get((where.key, station.id))
        if one is None or (one.audio if audio else one.rate) is None:
            return False
        self._end(one, audio=audio, told=not audio)
        return True

    def on_host(self, host: str) -> list[Destination]:
        """Where subscribers on a host are told of events."""
        return [one.where for one in self._all.values() if one.rate is not None and same_host(one.where.host, host)]

    def unreachable(self, key: Hashable) -> None:
        """A packet to this destination came back. After MOST_REFUSALS it is sent nothing more."""
        for one in [s for (where, _), s in self._all.items() if where == key]:
            one.refusals += 1
            if one.refusals >= MOST_REFUSALS:
                LOG.info("OSC subscriber %s is not there any more", key)
                self._end(one)

    def gone(self, key: Hashable) -> None:
        """A connection has ended."""
        for one in [s for (where, _), s in self._all.items() if where == key]:
            self._end(one)

    def leave(self, session: str) -> None:
        """A session goes on elsewhere, and so do its subscriptions: nobody is told."""
        for one in [s for s in self._all.values() if s.session == session]:
            self._end(one)
        tap = self._taps.pop(session, None)
        if tap is not None:
            tap.close()

    def sweep(self, now: float) -> None:
        """Forget subscriptions that were not renewed, and sessions that were closed."""
        for one in list(self._all.values()):
            if self._find(one.session) is None:
                one.where.send(write_message(f"{one.root}/error", one.root, "the session is closed"))
                self._end(one)
            else:
                told, audio = one.rate is not None and one.until < now, one.audio is not None and one.audio_until < now
                self._end(one, told=told, audio=audio)
        for session in [s for s in self._taps if self._find(s) is None]:
            self._taps.pop(session).close()

    def close(self) -> None:
        """Forget all."""
        for one in list(self._all.values()):
            self._end(one)
        for tap in self._taps.values():
            tap.close()
        self._taps.clear()

    def _subscriber(self, where: Destination, station: Station, root: str) -> Subscriber:
        key = (where.key, station.id)
        if key not in self._all:
            if len(self._all) >= self._largest:
                raise UsageError(f"there are {len(self._all)} subscribers; no more can be told")
            self._all[key] = Subscriber(where, station.id, root)
            self.tap(station).subscribers.append(self._all[key])
        one = self._all[key]
        one.where, one.root = where, root
        return one

    def _end(self, one: Subscriber, told: bool = True, audio: bool = True) -> None:
        if told:
            one.rate = None
            if one.timer is not None:
                one.timer.cancel()
        if audio:
            one.audio = None
        if one.rate is None and one.audio is None:
            self._all.pop((one.where.key, one.session), None)
            tap = self._taps.get(one.session)
            if tap is not None and one in tap.subscribers:
                tap.subscribers.remove(one)

    def _tick(self, one: Subscriber) -> None:
        """Tell status and meter, and plan the next."""
        station = self._find(one.session)
        if not one.rate or station is None:
            return
        one.timer = asyncio.get_running_loop().call_later(1 / one.rate, self._tick, one)
        state = station.state()
        one.where.send(status_message(one.root, station, state))
        one.where.send(beat_message(one.root, state["tempo"]))
        one.where.send(write_message(f"{one.root}/meter", *one.meter.read()))


def status_message(root: str, station: Station, state: Mapping[str, Any]) -> bytes:
    """/safa/status of a session."""
    seconds, samples = divmod(int(state["position"]), station.rate)
    ready = float(state["ready"]) / station.rate
    return write_message(f"{root}/status", station.id, seconds, samples, station.playing, ready, len(state["layers"]))


def beat_message(root: str, tempo: Mapping[str, float]) -> bytes:
    """/safa/beat of a session, from its state."""
    bar, beat = divmod(tempo["beat"], tempo["beats_per_bar"])
    return write_message(f"{root}/beat", int(bar), beat, float(tempo["bpm"]), float(tempo["beats_per_bar"]))


def event_arguments(event: Event, rate: int) -> tuple[int | float | str, ...]:
    """An event's fields in order: samples as seconds and samples, lists as words, objects as JSON."""
    found: list[int | float | str] = []
    for each in fields(event):
        value: Any = getattr(event, each.name)
        if each.name in TIMES:
            found.extend(divmod(value, rate))
        elif isinstance(value, tuple):
            found.append(", ".join(str(item) for item in value))
        elif isinstance(value, dict):
            found.append(json.dumps(value, ensure_ascii=False))
        else:
            found.append(value)
    return tuple(found)
