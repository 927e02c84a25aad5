"""The ports of OSC, and who may say what there how often. What is said is carried out by those who have sessions."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from safa_server.osc_map import ROOT
from safa_server.osc_packet import FRAMINGS, LARGEST_PACKET, Argument, Message, PacketError, read_packet, write_message
from safa_server.osc_peers import Gate, Rates, same_host
from safa_server.osc_read import number, shown, text
from safa_server.osc_sockets import Datagrams, TcpServer, UdpEndpoint, UdpPeer, numeric_address
from safa_server.osc_subscribers import LARGEST_SUBSCRIBERS, Destination
from safa_server.security import is_loopback
from safa_stream.errors import SafaError, UsageError

SWEEP_SECONDS = 5.0
LOG = logging.getLogger("safa_server.osc")


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


class OscReception(ABC):
    """See the module."""

    def __init__(self, settings: OscSettings) -> None:
        self.settings, self.counts = settings, OscCounts()
        self._gate = Gate(None if is_loopback(settings.host) else settings.token)
        self._rates = Rates(settings.packets_per_second, settings.packet_burst, time.monotonic())
        self._udp: Datagrams | None = None
        self._tcp: TcpServer | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @abstractmethod
    def carry_out(self, message: Message, peer: Destination, now: float) -> None:
        """Do what a peer that may speak has asked for. Raises SafaError, which the peer is told."""

    @abstractmethod
    def listeners(self, host: str) -> Sequence[Destination]:
        """Who on a host is told of events."""

    @abstractmethod
    def unreachable(self, key: Hashable) -> None:
        """A packet that was sent to a peer came back."""

    @abstractmethod
    def gone(self, key: Hashable) -> None:
        """A connection has ended."""

    @abstractmethod
    def sweep(self, now: float) -> None:
        """Look after what is there; called every SWEEP_SECONDS."""

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
