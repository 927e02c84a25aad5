"""The OSC server: UDP and TCP in, commands to sessions, answers and subscriptions out.

    packet ─► rates ─► read_packet ─► gate (token) ─► read_request ─► station.submit ─► /safa/ok or /safa/error

All of it happens in the call in which a packet arrives: nothing is queued but what an operating system's socket holds,
and a time tag becomes the command's sample, for which the session itself waits.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Hashable, Sequence

from safa_server.osc_map import HIGHEST_RATE, ROOT
from safa_server.osc_packet import Message, write_message
from safa_server.osc_read import Present, Request, Service, at_time, needed_number, number, read_request, shown, text
from safa_server.osc_reception import OscReception, OscSettings
from safa_server.osc_sockets import Datagrams, UdpPeer
from safa_server.osc_stream import LARGEST_RING, LEAST_RING, RingBuffer, packet_frames
from safa_server.osc_subscribers import Destination, Subscribers
from safa_server.station import Station
from safa_server.stations import Seen
from safa_server.telemetry.observer import Origin
from safa_stream.errors import UsageError
from safa_stream.scene import WeightedPrompt, parse_prompts

#: A time tag farther ahead is a mistake: a wrong clock, or another era of NTP.
FARTHEST_SECONDS = 60.0
#: play and pause that wait for the time of their bundle.
MOST_WAITING = 64
STATUS_RATE = 10.0
LARGEST_DATAGRAM = 65_507


class OscServer(OscReception):
    """Serves `stations`. default: the session of addresses that name none."""

    def __init__(self, stations: Seen, default: Callable[[], Station | None], settings: OscSettings) -> None:
        super().__init__(settings)
        self._stations, self._default = stations, default
        self._waiting: set[asyncio.TimerHandle] = set()
        self.subscribers = Subscribers(stations.find, settings.subscribers)

    def speak_through(self, port: Datagrams) -> None:
        """Begin without a port of its own: what comes is handed to `received` by whoever has one, and `port` sends."""
        self._udp = port
        self._sweep()

    async def close(self) -> None:
        """Close the ports; subscribers hear nothing more."""
        for timer in self._waiting:
            timer.cancel()
        self.subscribers.close()
        await super().close()

    def listeners(self, host: str) -> Sequence[Destination]:
        """Subscribers on a host."""
        return self.subscribers.on_host(host)

    def unreachable(self, key: Hashable) -> None:
        """A subscriber may be gone."""
        self.subscribers.unreachable(key)

    def gone(self, key: Hashable) -> None:
        """A subscriber's connection has ended."""
        self.subscribers.gone(key)

    def sweep(self, now: float) -> None:
        """Forget subscriptions that were not renewed, and sessions that were closed."""
        self.subscribers.sweep(now)

    def carry_out(self, message: Message, peer: Destination, now: float) -> None:
        """Hand commands to their session, and serve what is no command."""
        received = time.monotonic_ns()
        request = read_request(message.address, message.arguments, self._present)
        station = self._station(request.session)
        if isinstance(request.what, Service):
            self._service(request, request.what, station, peer, message.due, now)
            return
        if message.due is not None:
            at = self._sample(station, message.due)
            request = request if at is None else at_time(request, at)
        assert not isinstance(request.what, Service)
        for command in request.what:
            taken = station.submit(command, origin=Origin("osc", received))
            self._answer(peer, message.address, taken)

    def _service(
        self, request: Request, service: Service, station: Station, peer: Destination, due: float | None, now: float
    ) -> None:
        root = ROOT if request.session is None else f"{ROOT}/session/{request.session}"
        arguments = service.arguments
        match service.name:
            case "play" | "pause":
                self._at(due, station.play if service.name == "play" else station.pause)
            case "ping":
                sample = self._clock(station, 0.0)
                token = arguments[0] if arguments and isinstance(arguments[0], int | float | str | bytes) else 0
                peer.send(write_message(f"{root}/pong", token or 0, *divmod(max(0, sample), station.rate)))
                return
            case "state":
                packet = write_message(f"{root}/state", station.id, json.dumps(station.state(), ensure_ascii=False))
                if isinstance(peer, UdpPeer) and len(packet) > LARGEST_DATAGRAM:
                    raise UsageError("the state is too long for a UDP packet; ask over TCP")
                peer.send(packet)
                return
            case "subscribe":
                rate = number(arguments, 2, "rate", STATUS_RATE, 0, HIGHEST_RATE)
                self.subscribers.add(self.destination(arguments, peer), station, root, rate, now)
            case "audio/subscribe":
                wanted = text(arguments, 2, "format", "s16")
                packet_frames(1, station.channels, wanted)
                self.subscribers.add_audio(self.destination(arguments, peer), station, root, wanted, now)
            case "audio/ring":
                ring = RingBuffer(
                    int(needed_number(arguments, 2, "buffer", 0, 65535)),
                    int(needed_number(arguments, 3, "frames", LEAST_RING, LARGEST_RING)),
                )
                self.subscribers.add_audio(self.destination(arguments, peer), station, root, ring, now)
            case _:
                audio = service.name.startswith("audio/")
                if not self.subscribers.remove(self.destination(arguments, peer), station, audio):
                    raise UsageError("there is no such subscription")
        self._answer(peer, request.address, 0)

    def _station(self, session: str | None) -> Station:
        station = self._default() if session is None else self._stations.find(session)
        if station is None:
            raise UsageError("there is no session yet" if session is None else f"there is no session {shown(session)}")
        return station

    def _present(self, session: str | None) -> Present:
        station = self._station(session)

        def prompts(layer: int) -> tuple[WeightedPrompt, ...]:
            return layer_prompts(station, layer)

        return Present(station.position, station.rate, lambda: layer_numbers(station), prompts)

    def _clock(self, station: Station, ahead: float) -> int:
        """The sample that leaves so many seconds from now."""
        now = time.monotonic_ns()
        clock = self.subscribers.tap(station).clock
        return clock.sample(now + round(ahead * 1e9), station.position, now, station.playing)

    def _sample(self, station: Station, due: float) -> int | None:
        """A time tag as a sample; None where it is past."""
        clock = self.subscribers.tap(station).clock
        at = clock.tagged(due, lambda: self._clock(station, self._ahead(due)))
        return at if at > station.position else None

    def _ahead(self, due: float) -> float:
        ahead = due - time.time()
        if ahead > FARTHEST_SECONDS:
            raise UsageError(f"the time tag is {ahead:.0f} s ahead; at most {FARTHEST_SECONDS:.0f} s are waited for")
        return ahead

    def _at(self, due: float | None, what: Callable[[], None]) -> None:
        """Do it now, or at a time tag."""
        ahead = 0.0 if due is None else self._ahead(due)
        if ahead <= 0:
            what()
            return
        if len(self._waiting) >= MOST_WAITING:
            raise UsageError(f"{MOST_WAITING} messages are waiting for their time; no more can")

        def done() -> None:
            self._waiting.discard(timer)
            what()

        timer = asyncio.get_running_loop().call_later(ahead, done)
        self._waiting.add(timer)

    def _answer(self, peer: Destination, address: str, number: int) -> None:
        self._tell(peer, write_message(f"{ROOT}/ok", address, number))


def layer_numbers(station: Station) -> Sequence[int]:
    """Numbers of the layers that a session has."""
    return [int(layer["layer"]) for layer in station.state()["layers"]]


def layer_prompts(station: Station, layer: int) -> tuple[WeightedPrompt, ...]:
    """What a layer has been told last. Raises UsageError where there is no such layer."""
    for one in station.state()["layers"]:
        if one["layer"] == layer:
            return parse_prompts(one["prompts"])
    raise UsageError(f"there is no layer {layer}")
