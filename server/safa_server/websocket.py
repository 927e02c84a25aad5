"""The server's port: WebSockets at /ws (and at others' paths), HTTP for everything else.

A request is answered, refused or made a WebSocket in `_process`, before any of it reaches a handler. PROTOCOL.md
"Connections". The library speaks the framing; compression is off, so that no message is longer than it looks.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, NegotiationError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from safa_server.guests import Guests
from safa_server.http import HttpRequest, HttpResponse, forbidden, refusal, unauthorized
from safa_server.hub import SWEEP_SECONDS
from safa_server.library_log import Quiet
from safa_server.limits import Limits
from safa_server.metrics import Registry
from safa_server.principal import Access, Principal
from safa_server.security import Security, token_in
from safa_stream.errors import FailureError

PATH = "/ws"
PROTOCOL = Subprotocol("safa.v1")
#: What the system may hold of one client's sound; its default can be many seconds of sound.
SEND_BUFFER = 256 * 1024
#: Requests that are being read, beside open WebSockets.
MOST_HANDSHAKES = 64
#: The longest that a client may take to close, and to fetch a file.
CLOSE_SECONDS = 2.0
DOWNLOAD_SECONDS = 120.0

log = logging.getLogger("safa_server.websocket")


@dataclass(frozen=True, slots=True)
class Route:
    """A WebSocket endpoint of another protocol on the same port.

    takes: whether a path (without query) is its; serve: called with the open WebSocket and who it is; it returns or
    raises when the connection is over; token: finds the token in a request, where it is not in the usual places.
    """

    takes: Callable[[str], bool]
    serve: Callable[[ServerConnection, Principal], Awaitable[None]]
    token: Callable[[HttpRequest], str | None] = lambda request: None


class Reception(Protocol):
    """What the port needs of those whom it lets clients in to."""

    @property
    def limits(self) -> Limits: ...

    @property
    def metrics(self) -> Registry: ...

    @property
    def security(self) -> Security: ...

    @property
    def guests(self) -> Guests: ...

    def sweep(self) -> None:
        """Look after what is there; called every SWEEP_SECONDS."""
        ...

    def tell_all(self, reason: str) -> None:
        """Say to every client that its connection is about to be closed."""
        ...


class Served(Protocol):
    """A client as it is served."""

    async def run(self) -> None: ...


class Pages(Protocol):
    """What answers requests that are no WebSocket's."""

    def respond(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]: ...


class Front:
    """The port. `routes` are asked in order, after /ws; `client` makes of a WebSocket there what is served."""

    def __init__(
        self,
        hub: Reception,
        http: Pages,
        client: Callable[[ServerConnection, Principal], Served],
        routes: Sequence[Route] = (),
    ) -> None:
        self._hub = hub
        self._client = client
        self._http = http
        self._routes = tuple(routes)
        self._open = 0
        self._reading = 0
        self._server: Server | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """Serve within this context; gives the port, which is chosen by the system for 0. Raises FailureError.

        At the end clients are told, and their connections closed with code 1001.
        """
        limits, accepted = self._hub.limits, self._accepted

        class Accepted(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                accepted(self)

        try:
            server = await serve(
                self._handle,
                host,
                port,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else limits.handshake_seconds,
                process_request=self._process,
                select_subprotocol=lambda _, offered: chosen(offered),
                create_connection=Accepted,
                compression=None,
                # Reading a request has a limit of its own; this one holds for an answer as well, such as a long loop.
                open_timeout=DOWNLOAD_SECONDS,
                ping_interval=limits.ping_seconds,
                ping_timeout=limits.ping_seconds,
                close_timeout=CLOSE_SECONDS,
                max_size=limits.message_bytes,
                max_queue=16,
                # The pump of sound stops at write_bytes, below the lower mark, so no answer has to wait for it.
                write_limit=(8 * limits.write_bytes, 2 * limits.write_bytes),
                server_header=None,
                logger=Quiet(log, {}),
                backlog=128,
            )
        except OSError as error:
            raise FailureError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        self._server = server
        sweeping = asyncio.get_running_loop().create_task(self.look_after())
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            self._hub.tell_all("the server is shutting down")
            server.close()
            await server.wait_closed()
            sweeping.cancel()

    @property
    def sockets(self) -> tuple[ServerConnection, ...]:
        """WebSockets that are open."""
        return () if self._server is None else tuple(self._server.connections)

    def _accepted(self, connection: ServerConnection) -> None:
        """Bound a new connection before a byte of it is read: what the system buffers, how many there are, and how long
        its request may take."""
        transport = connection.transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if self._reading >= MOST_HANDSHAKES + self._hub.limits.connections - self._open:
            self._hub.metrics.add("safa_connections_refused_total", reason="too many")
            transport.abort()
            return
        self._reading += 1
        patience = asyncio.get_running_loop().call_later(
            self._hub.limits.handshake_seconds, self._impatient, connection
        )

        def over(_: object) -> None:
            self._reading -= 1
            patience.cancel()

        connection.request_rcvd.add_done_callback(over)
        connection.connection_lost_waiter.add_done_callback(lambda _: connection.request_rcvd.cancel())

    def _impatient(self, connection: ServerConnection) -> None:
        self._hub.metrics.add("safa_connections_refused_total", reason="too slow")
        connection.transport.abort()

    async def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request, None where it becomes a WebSocket."""
        asked = _request(request)
        found = self.admit(asked) if _is_upgrade(asked) else self._http.respond(asked)
        response = await found if isinstance(found, Awaitable) else found
        # The library counts the time that the answer takes as a part of closing.
        connection.close_timeout = CLOSE_SECONDS if response is None else DOWNLOAD_SECONDS
        return None if response is None else _response(response, asked.method)

    def admit(self, asked: HttpRequest) -> HttpResponse | None:
        """Why a WebSocket cannot be, None where it can."""
        security, host, origin = self._hub.security, asked.headers.get("host"), asked.headers.get("origin")
        try:
            path, route = asked.path, self._route(asked.path)
            given = _token(asked, route)
        except ValueError:
            return self._refused("address", refusal(HTTPStatus.BAD_REQUEST, "the address cannot be read"))
        if asked.method != "GET":
            return self._refused("address", refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET", (("Allow", "GET"),)))
        if path != PATH and route is None:
            return self._refused("address", refusal(HTTPStatus.NOT_FOUND, f"WebSockets are at {PATH}"))
        if not security.knows_host(host):
            return self._refused(
                "host", refusal(HTTPStatus.MISDIRECTED_REQUEST, "this server is not known by that name")
            )
        if not security.trusts(origin, host):
            return self._refused("origin", refusal(HTTPStatus.FORBIDDEN, "pages of that origin may not connect"))
        who = security.who(given)
        if who.access is Access.NONE and ((given is not None and not security.knows(given)) or route is not None):
            return self._refused("token", unauthorized(who.refusal))
        if who.access is Access.LISTEN and route is not None:
            return self._refused("token", forbidden())
        if self._open >= self._hub.limits.connections:
            busy = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections", (("Retry-After", "5"),))
            return self._refused("too many", busy)
        return None

    def _refused(self, reason: str, response: HttpResponse) -> HttpResponse:
        self._hub.metrics.add("safa_connections_refused_total", reason=reason)
        return response

    def _route(self, path: str) -> Route | None:
        return None if path == PATH else next((route for route in self._routes if route.takes(path)), None)

    async def _handle(self, connection: ServerConnection) -> None:
        """Serve one WebSocket; whatever goes wrong in it stays in it."""
        assert connection.request is not None
        asked = _request(connection.request)
        route = self._route(asked.path)
        who = self._hub.security.who(_token(asked, route))
        self._open += 1
        self._hub.metrics.set("safa_connections", self._open)
        try:
            if route is None:
                await self._client(connection, who).run()
            elif who.access is Access.ALL:
                self._hub.guests.enter(connection, who, lambda reason: self._cut(connection, reason))
                await route.serve(connection, who)
            else:
                # It was let in a moment ago: the token has ended since.
                await connection.close(1008, who.refusal[:120])
        except ConnectionClosed as closed:
            log.info("connection lost: %s", closed)
        except Exception as error:
            log.error("a connection failed: %s: %s", type(error).__name__, error)
            await connection.close(1011, "the server failed")
        finally:
            self._hub.guests.leave(connection)
            self._open -= 1
            self._hub.metrics.set("safa_connections", self._open)

    def _cut(self, connection: ServerConnection, reason: str) -> None:
        closing = asyncio.get_running_loop().create_task(connection.close(1008, reason[:120]))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def look_after(self) -> None:
        """Look after sessions and cut connections whose unread answers pile up, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            if self._hub.security.tenants is not None:
                # A long tenants file takes a while to read; no sound waits for that.
                await asyncio.to_thread(self._hub.security.tenants.look)
            self._hub.sweep()
            for connection in self.sockets:
                if connection.transport.get_write_buffer_size() > self._hub.limits.stuck_bytes:
                    connection.transport.abort()


def chosen(offered: Sequence[str]) -> Subprotocol | None:
    """Ours where it is offered; a client that offers none is taken as it is, and so are other protocols' clients.

    Raises NegotiationError for another version of ours.
    """
    if PROTOCOL in offered:
        return PROTOCOL
    if offered and all(name.startswith("safa.") for name in offered):
        raise NegotiationError(f"known is the sub-protocol {PROTOCOL}")
    return None


def _token(asked: HttpRequest, route: Route | None) -> str | None:
    """The token that a request carries, where it usually is or where the route's clients put it."""
    return token_in(asked.headers, asked.query) or (None if route is None else route.token(asked))


def _is_upgrade(asked: HttpRequest) -> bool:
    return "websocket" in asked.headers.get("upgrade", "").lower()


def _request(request: Request) -> HttpRequest:
    """The library's request; of a header that comes twice the first counts (it raises if asked for such a one)."""
    headers: dict[str, str] = {}
    for name, value in request.headers.raw_items():
        headers.setdefault(name.lower(), value)
    # Before version 17 the library took GET only and did not say so.
    return HttpRequest(getattr(request, "method", "GET"), request.path, headers)


def _response(response: HttpResponse, method: str) -> Response:
    body = b"" if method == "HEAD" else response.body
    headers = Headers([("Date", formatdate(usegmt=True)), *response.all_headers()])
    return Response(response.status.value, response.status.phrase, headers, body)
