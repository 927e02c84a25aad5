"""OSCQuery: tools find the address space over HTTP, and listen to its values over a WebSocket.

`OscQuery` needs no server of its own: `answer` is a function of an HTTP target, `listen` handles a WebSocket given as
two callables. `serve_oscquery` puts both on a port, for tools that expect one.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import itertools
import json
import logging
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from pythonosc.osc_message_builder import OscMessageBuilder
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from safa_server.library_log import Quiet
from safa_server.osc import OscServer
from safa_server.osc_map import ROOT
from safa_server.osc_tree import Answer, Node, answer, value_of
from safa_server.security import Security, token_in
from safa_server.station import Station
from safa_server.stations import Seen
from safa_stream.errors import UsageError

LARGEST_LISTENED = 256
LARGEST_CONNECTIONS = 16
LARGEST_OPEN = 64
HANDSHAKE_SECONDS, CLOSE_SECONDS = 5.0, 2.0
LARGEST_WAITING = 256
LARGEST_MESSAGE = 16 * 1024
#: Values are compared so often while somebody listens.
POLL_SECONDS = 0.05
EXTENSIONS = {name: True for name in ("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "OVERLOADS", "LISTEN")}
Message = str | bytes
log = logging.getLogger("safa_server.oscquery")


class OscQuery:
    """Answers about the sessions of one OSC server. default: the session of addresses that name none."""

    def __init__(self, stations: Seen, default: Callable[[], Station | None], osc: OscServer, name: str) -> None:
        self._stations, self._default, self._osc, self._name = stations, default, osc, name
        self._numbers = itertools.count(1)

    def host_info(self) -> Node:
        """Where OSC and the WebSocket are; addresses are left out, they are those that the client came to."""
        return {
            "NAME": self._name,
            "OSC_PORT": self._osc.port,
            "OSC_TRANSPORT": "UDP",
            "EXTENSIONS": EXTENSIONS,
        }

    def answer(self, target: str) -> Answer:
        """The answer to an HTTP GET. target: path and query, such as "/safa/layer/0/gain?VALUE"."""
        root, state = self._state(target.partition("?")[0])
        if root != ROOT and state is None:
            return Answer(404)
        return answer(target, state, root, self.host_info())

    async def listen(
        self, host: str, messages: AsyncIterable[Message], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Serve one WebSocket until `messages` ends: LISTEN and IGNORE as JSON, OSC packets as binary both ways.

        Who calls this has checked the client's token and origin.
        """
        socket = _Listener(("oscquery", next(self._numbers)), host)
        self._osc.trust(socket)
        tasks = [asyncio.create_task(socket.deliver(send)), asyncio.create_task(self._poll(socket))]
        try:
            async for message in messages:
                if isinstance(message, bytes):
                    self._osc.received(message, socket)
                else:
                    self._told(socket, message)
        finally:
            self._osc.left(socket)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _told(self, socket: _Listener, text: str) -> None:
        try:
            told = json.loads(text)
            command, path = told["COMMAND"], told["DATA"]
        except (ValueError, KeyError, TypeError, RecursionError):
            socket.complain('a text message is like {"COMMAND": "LISTEN", "DATA": "/safa/layer/0/gain"}')
            return
        if command not in ("LISTEN", "IGNORE") or not isinstance(path, str):
            socket.complain("only LISTEN and IGNORE with an address are understood")
        elif command == "IGNORE":
            socket.heard.pop(path, None)
        elif self._value(path) is None:
            socket.complain(f"{path[:80]!r} has no value to listen to")
        elif len(socket.heard) >= LARGEST_LISTENED and path not in socket.heard:
            socket.complain(f"at most {LARGEST_LISTENED} addresses are listened to")
        else:
            socket.heard[path] = None

    async def _poll(self, socket: _Listener) -> None:
        """Send the values of what is listened to, at first and whenever they change."""
        while True:
            states: dict[str, Any] = {}
            for path, before in list(socket.heard.items()):
                root, _ = _root(path)
                if root not in states:
                    states[root] = self._state(path)[1]
                value = value_of(path.removeprefix(root), states[root])
                if value is not None and value != before:
                    socket.heard[path] = value
                    socket.send(_packet(path, value))
            await asyncio.sleep(POLL_SECONDS)

    def _value(self, path: str) -> list[Any] | None:
        root, state = self._state(path)
        return value_of(path.removeprefix(root), state) if path.startswith(f"{root}/") else None

    def _state(self, path: str) -> tuple[str, dict[str, Any] | None]:
        """The root that a path belongs to, and the state of its session."""
        root, session = _root(path)
        station = self._default() if session is None else self._stations.find(session)
        return root, None if station is None else station.state()


class _Listener:
    """One WebSocket: what it listens to, and what waits to be sent to it. A destination for OSC answers."""

    def __init__(self, key: Hashable, host: str) -> None:
        self.key, self.host = key, host
        self.heard: dict[str, list[Any] | None] = {}
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(LARGEST_WAITING)

    def send(self, packet: Message) -> None:
        """Send without waiting; what does not fit is lost."""
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait(packet)

    def complain(self, reason: str) -> None:
        """Say what was wrong with a message. OSCQuery has no word for that; tools pass over what they do not know."""
        self.send(json.dumps({"COMMAND": "ERROR", "DATA": reason}))

    async def deliver(self, send: Callable[[Message], Awaitable[None]]) -> None:
        """Send what waits."""
        while True:
            await send(await self._waiting.get())


def _root(path: str) -> tuple[str, str | None]:
    match = re.match(rf"{ROOT}/session/([^/?]+)", path)
    return (ROOT, None) if match is None else (match.group(0), match.group(1))


def _packet(path: str, values: list[Any]) -> bytes:
    """Values with OSC types of their own: T and F, N for what is not set, h for what needs more than 32 bits."""
    builder = OscMessageBuilder(path)
    for value in values:
        builder.add_arg(value)
    return builder.build().dgram


@asynccontextmanager
async def serve_oscquery(query: OscQuery, host: str, port: int, security: Security) -> AsyncIterator[int]:
    """OSCQuery on a port of its own; gives the port. Raises UsageError where it cannot be opened."""

    def refused(request: Request) -> Response | None:
        _, _, text = request.path.partition("?")
        attributes = dict(parse_qsl(text))
        if not security.who(token_in(request.headers, attributes)).operates:
            return _response(401, '{"error": "a token is needed"}')
        if not security.knows_host(request.headers.get("Host")):
            return _response(403, '{"error": "the server is not called that"}')
        if not security.trusts(request.headers.get("Origin"), request.headers.get("Host")):
            return _response(403, '{"error": "pages from there may not connect"}')
        return None

    def process(connection: ServerConnection, request: Request) -> Response | None:
        no = refused(request)
        if no is not None or request.headers.get("Upgrade", "").lower() == "websocket":
            return no or (_response(503, "") if len(server.connections) > LARGEST_CONNECTIONS else None)
        path, mark, text = request.path.partition("?")
        attributes = [part for part in text.split("&") if part and not part.startswith("token=")]
        told = query.answer(path + (mark + attributes[0] if attributes else ""))
        return _response(told.status, told.body)

    open_now: set[ServerConnection] = set()

    class Counted(ServerConnection):
        """Connections are bounded also before they have asked for anything."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            open_now.add(self)
            if len(open_now) > LARGEST_OPEN:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            open_now.discard(self)
            super().connection_lost(exc)

    async def handle(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await query.listen(str(connection.remote_address[0]), connection, connection.send)

    try:
        server: Server = await serve(
            handle,
            host,
            port,
            process_request=process,
            create_connection=Counted,
            max_size=LARGEST_MESSAGE,
            compression=None,
            open_timeout=HANDSHAKE_SECONDS,
            close_timeout=CLOSE_SECONDS,
            server_header=None,
            logger=Quiet(log, {}),
        )
    except OSError as error:
        raise UsageError(f"OSCQuery cannot listen on {host}, port {port}: {error}") from None
    try:
        yield int(next(iter(server.sockets)).getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


def _response(status: int, body: str) -> Response:
    data = body.encode()
    headers = Headers(
        [("Content-Type", "application/json"), ("Content-Length", str(len(data))), ("Connection", "close")]
    )
    return Response(status, http.HTTPStatus(status).phrase, headers, data)
