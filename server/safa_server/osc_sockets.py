"""The sockets of OSC: one UDP port, and TCP connections with their framing. asyncio, without queues of their own."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import socket
import sys
from collections.abc import Callable, Hashable
from typing import Any, Protocol, cast

from safa_server.osc_packet import Framing, PacketError
from safa_server.osc_peers import plain_address
from safa_server.osc_subscribers import Destination
from safa_stream.errors import UsageError

#: Bytes that may wait in a TCP socket; a client that reads slower loses its connection. (UDP packets are just lost.)
LARGEST_BACKLOG = 256 * 1024
#: A connection that has to give a token has so long for it.
AUTH_SECONDS = 10.0
#: Linux: ask for the reports of packets that came back, with their destinations.
_IP_RECVERR, _IPV6_RECVERR = 11, 25

Received = Callable[[bytes, Destination], None]


def numeric_address(host: str, family: int) -> str:
    """A host's address without asking a name server: numbers, or "localhost". Raises UsageError."""
    if host == "localhost":
        return "::1" if family == socket.AF_INET6 else "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UsageError(f"argument 1 (host) must be a numeric address or localhost, not {host[:60]!r}") from None
    if address.version == 6 and family == socket.AF_INET:
        raise UsageError(f"argument 1 (host) must be an IPv4 address here, not {host[:60]!r}")
    return plain_address(host)


class Datagrams(Protocol):
    """A UDP port: this machine's, or one of a machine that hands on what comes there."""

    @property
    def family(self) -> int: ...

    @property
    def port(self) -> int: ...

    def send(self, packet: bytes, host: str, port: int) -> None:
        """Send a packet, or lose it."""
        ...

    def close(self) -> None: ...


class UdpPeer:
    """An address that packets are sent to."""

    def __init__(self, endpoint: Datagrams, host: str, port: int) -> None:
        self._endpoint = endpoint
        self.host, self.port = plain_address(host), port
        self.key: Hashable = (self.host, port)

    def send(self, packet: bytes) -> None:
        """Send without waiting."""
        self._endpoint.send(packet, self.host, self.port)


class UdpEndpoint(asyncio.DatagramProtocol):
    """One UDP port. unreachable: called with the key of a peer that a packet could not be delivered to (on Linux)."""

    def __init__(self, received: Received, unreachable: Callable[[Hashable], None], sock: socket.socket) -> None:
        self._received, self._unreachable, self._socket = received, unreachable, sock
        self._transport: asyncio.DatagramTransport | None = None
        self._failed = self._full = False
        self.family, self.port = int(sock.family), int(sock.getsockname()[1])

    @classmethod
    async def open(
        cls, host: str, port: int, received: Received, unreachable: Callable[[Hashable], None]
    ) -> UdpEndpoint:
        """Bind. Raises UsageError where that cannot be."""
        loop = asyncio.get_running_loop()
        try:
            (family, _, _, _, address), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise UsageError(f"OSC cannot listen on {host}: {error}") from None
        try:
            if sys.platform == "linux":
                sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            sock.setblocking(False)
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise UsageError(f"OSC cannot listen on {host}, UDP port {port}: {error}") from None
        _, endpoint = await loop.create_datagram_endpoint(lambda: cls(received, unreachable, sock), sock=sock)
        return endpoint

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio has taken the socket."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """A packet."""
        self._received(data, UdpPeer(self, str(addr[0]), int(addr[1])))

    def pause_writing(self) -> None:
        """The socket is full."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False

    def error_received(self, exc: Exception) -> None:
        """Reports of packets that came back are waiting: find out whose they were."""
        self._failed = True
        while sys.platform == "linux":
            try:
                _, _, _, address = self._socket.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            self._unreachable((plain_address(str(address[0])), int(address[1])))

    def send(self, packet: bytes, host: str, port: int) -> None:
        """Send a packet, or lose it where the socket is full. An earlier packet's report can stand in its way once."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._full:
            return
        if self.family == socket.AF_INET6 and ":" not in host:
            host = f"::ffff:{host}"
        self._failed = False
        transport.sendto(packet, (host, port))
        if self._failed:
            transport.sendto(packet, (host, port))

    def close(self) -> None:
        """Close the port."""
        if self._transport is not None:
            self._transport.close()


class TcpConnection(asyncio.Protocol):
    """One TCP connection, which is a peer and a destination."""

    def __init__(self, server: TcpServer) -> None:
        self._server = server
        self._framing = Framing(server.framing, server.largest)
        self._transport: asyncio.Transport | None = None
        self.key: Hashable = ("tcp", next(server.numbers))
        self.host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; one too many is sent away."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.host = plain_address(str(transport.get_extra_info("peername")[0]))
        if not self._server.entered(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes; what is no framing ends the connection."""
        try:
            for packet in self._framing.received(data):
                self._server.received(packet, self)
        except PacketError:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._server.left(self)

    def send(self, packet: bytes) -> None:
        """Send without waiting; a client that does not read loses its connection."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(self._framing.wrapped(packet))
        if transport.get_write_buffer_size() > LARGEST_BACKLOG:
            transport.abort()

    def end(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()


class TcpServer:
    """The TCP port and its connections, at most `largest_count`. known: whether a peer has given the token."""

    def __init__(
        self,
        framing: str,
        largest: int,
        largest_count: int,
        received: Received,
        gone: Callable[[Destination], None],
        known: Callable[[Destination], bool],
    ) -> None:
        self.framing, self.largest, self.received = framing, largest, received
        self._largest_count, self._gone, self._known = largest_count, gone, known
        self.numbers = itertools.count(1)
        self._connections: dict[TcpConnection, asyncio.TimerHandle] = {}
        self._server: asyncio.Server | None = None

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        framing: str,
        largest: int,
        largest_count: int,
        received: Received,
        gone: Callable[[Destination], None],
        known: Callable[[Destination], bool],
    ) -> TcpServer:
        """Bind. Raises UsageError where that cannot be."""
        self = cls(framing, largest, largest_count, received, gone, known)
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: TcpConnection(self), host, port)
        except OSError as error:
            raise UsageError(f"OSC cannot listen on {host}, TCP port {port}: {error}") from None
        return self

    @property
    def port(self) -> int:
        """The TCP port."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def entered(self, connection: TcpConnection) -> bool:
        """Whether there is room for one more; it has AUTH_SECONDS to give the token."""
        if len(self._connections) >= self._largest_count:
            return False
        loop = asyncio.get_running_loop()
        self._connections[connection] = loop.call_later(AUTH_SECONDS, self._check, connection)
        return True

    def left(self, connection: TcpConnection) -> None:
        """A connection has ended."""
        timer = self._connections.pop(connection, None)
        if timer is not None:
            timer.cancel()
            self._gone(connection)

    def _check(self, connection: TcpConnection) -> None:
        if not self._known(connection):
            connection.end()

    async def close(self) -> None:
        """Close the port and all connections."""
        for connection in list(self._connections):
            connection.end()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
