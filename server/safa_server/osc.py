"""The OSC server: UDP and TCP in, commands to sessions, answers and subscriptions out.

    packet ─► rates ─► read_packet ─► gate (token) ─► read_request ─► station.submit ─► /safa/ok or /safa/error

All of it happens in the call in which a packet arrives: nothing is queued but what an operating system's socket holds,
and a time tag becomes the command's sample, for which the session itself waits.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from safa_server.osc_map import HIGHEST_RATE, ROOT
from safa_server.osc_packet import FRAMINGS, LARGEST_PACKET, Argument, Message, PacketError, read_packet, write_message
from safa_server.osc_peers import Gate, Rates, same_host
from safa_server.osc_read import Present, Request, Service, at_time, needed_number, number, read_request, shown, text
from safa_server.osc_sockets import Datagrams, TcpServer, UdpEndpoint, UdpPeer, numeric_address
from safa_server.osc_stream import LARGEST_RING, LEAST_RING, RingBuffer, packet_frames
from safa_server.osc_subscribers import LARGEST_SUBSCRIBERS, Destination, Subscribers
from safa_server.security import is_loopback
from safa_server.station import Station
from safa_server.stations import Seen
from safa_server.telemetry.observer import Origin
from safa_stream.errors import SafaError, UsageError
from safa_stream.scene import WeightedPrompt, parse_prompts

#: A time tag farther ahead is a mistake: a wrong clock, or another era of NTP.
FARTHEST_SECONDS = 60.0
#: play and pause that wait for the time of their bundle.
MOST_WAITING = 64
STATUS_RATE = 10.0
LARGEST_DATAGRAM = 65_507
SWEEP_SECONDS = 5.0
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OscSettings:
    """port, tcp_port: 0 takes a free one, tcp_port None serves no TCP; framing: auto, slip or length (TCP).

    token: needed where `host` is not loopback; other_hosts: whether a peer may subscribe another host than its own.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tcp_port: int | None = None
    framing: str = "auto"
    token: str | None = None
    other_hosts: bool = False
    largest_packet: int = LARGEST_PACKET
    packets_per_second: float = 500.0
    packet_burst: float = 1000.0
    connections: int = 16
    subscribers: int = LARGEST_SUBSCRIBERS

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.token:
            raise UsageError(f"OSC on {self.host} can be reached from other machines: set a token, or use 127.0.0.1")
        if self.framing not in FRAMINGS:
            raise UsageError(f"OSC framing must be auto, slip or length, not {self.framing!r}")


@dataclass(slots=True)
class OscCounts:
    """Since the server began: packets that came, that could not be read, that were over a rate; messages and errors."""

    packets: int = 0
    unreadable: int = 0
    too_many: int = 0
    messages: int = 0
    errors: int = 0


class OscReception:
    """The ports, and who may say what there how often; what is said is carried out by those who have sessions."""

    def __init__(self, settings: OscSettings) -> None:
        self.settings, self.counts = settings, OscCounts()
        self._gate = Gate(None if is_loopback(settings.host) else settings.token)
        self._rates = Rates(settings.packets_per_second, settings.packet_burst, time.monotonic())
        self._udp: Datagrams | None = None
        self._tcp: TcpServer | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    def carry_out(self, message: Message, peer: Destination, now: float) -> None:
        """Do what a peer that may speak has asked for. Raises SafaError, which the peer is told."""
        raise NotImplementedError

    def listeners(self, host: str) -> Sequence[Destination]:
        """Who on a host is told of events."""
        raise NotImplementedError

    def unreachable(self, key: Hashable) -> None:
        """A packet that was sent to a peer came back."""
        raise NotImplementedError

    def gone(self, key: Hashable) -> None:
        """A connection has ended."""
        raise NotImplementedError

    def sweep(self, now: float) -> None:
        """Look after what is there; called every SWEEP_SECONDS."""
        raise NotImplementedError

    async def start(self) -> None:
        """Open the ports. Raises UsageError where one cannot be opened."""
        s = self.settings
        self._udp = await UdpEndpoint.open(s.host, s.port, self.received, self.unreachable)
        if s.tcp_port is not None:
            hooks = self.received, self.left, self._known
            try:
                self._tcp = await TcpServer.open(s.host, s.tcp_port, s.framing, s.largest_packet, s.connections, *hooks)
            except UsageError:
                self._udp.close()
                raise
        self._sweep()
        LOG.info("OSC listens on %s, UDP port %s, TCP port %s", s.host, self.port, self.tcp_port)

    async def close(self) -> None:
        """Close the ports."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            await self._tcp.close()

    @property
    def port(self) -> int:
        """The UDP port."""
        assert self._udp is not None
        return self._udp.port

    @property
    def tcp_port(self) -> int | None:
        """The TCP port, None where there is none."""
        return None if self._tcp is None else self._tcp.port

    def received(self, packet: bytes, peer: Destination) -> None:
        """A packet has come from a peer."""
        now = time.monotonic()
        self.counts.packets += 1
        if not self._rates.take(peer.host, now):
            self.counts.too_many += 1
            return
        try:
            messages = read_packet(packet, self.settings.largest_packet)
        except PacketError as error:
            self.counts.unreadable += 1
            self._refuse(peer, "", error, len(packet))
            return
        for message in messages:
            self.counts.messages += 1
            try:
                self._message(message, peer, now)
            except SafaError as error:
                self._refuse(peer, message.address, error, len(packet))
                if not self._known(peer):
                    # One answer to a packet, however many messages it holds.
                    return

    def _message(self, message: Message, peer: Destination, now: float) -> None:
        if message.address == f"{ROOT}/auth":
            given = text(message.arguments, 0, "token")
            if not self._gate.admit(peer.key, given, now, connected=not isinstance(peer, UdpPeer)):
                raise UsageError("wrong token")
            peer.send(write_message(f"{ROOT}/ok", message.address, 0))
            return
        if not self._known(peer):
            raise UsageError(f"say {ROOT}/auth TOKEN first")
        self.carry_out(message, peer, now)

    def _refuse(self, peer: Destination, address: str, error: SafaError, size: int) -> None:
        """Say what was wrong; to a peer that has not given the token never more than it said."""
        self.counts.errors += 1
        packet = write_message(f"{ROOT}/error", address, str(error))
        if self._known(peer):
            self._tell(peer, packet)
        elif len(packet) <= size or not isinstance(peer, UdpPeer):
            peer.send(packet)

    def _tell(self, peer: Destination, packet: bytes) -> None:
        """Tell a peer, and subscribers on its host: some programs hear on another port than the one they send from."""
        peer.send(packet)
        for where in self.listeners(peer.host):
            if where.key != peer.key:
                where.send(packet)

    def destination(self, arguments: Sequence[Argument], peer: Destination) -> Destination:
        """Where a subscription goes: to the sender, to another port of it, or to another host where that is allowed."""
        host = text(arguments, 0, "host", "")
        port = int(number(arguments, 1, "port", 0, 0, 65535))
        if not host and not port:
            return peer
        assert self._udp is not None
        if not host:
            host = peer.host
        else:
            host = numeric_address(host, self._udp.family)
        if not same_host(host, peer.host) and not self.settings.other_hosts:
            raise UsageError(f"argument 1 (host) must be the sender's own, {peer.host}, not {shown(host)}")
        if not port:
            if not isinstance(peer, UdpPeer):
                raise UsageError("argument 2 (port) is missing: over TCP the sender has no UDP port")
            port = peer.port
        return UdpPeer(self._udp, host, port)

    def trust(self, peer: Destination) -> None:
        """A connection whose token was checked where it came in."""
        self._gate.trust(peer.key)

    def left(self, peer: Destination) -> None:
        """A connection has ended."""
        self._gate.forget(peer.key)
        self.gone(peer.key)

    def _known(self, peer: Destination) -> bool:
        return self._gate.open_to(peer.key, time.monotonic())

    def _sweep(self) -> None:
        self.sweep(time.monotonic())
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)


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
        at = self._clock(station, self._ahead(due))
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
