"""A front end as an ASGI application, for servers that have the port themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosedError, NegotiationError

from safa_server.cluster.front import FrontHttp, Lobby
from safa_server.fields import WireError
from safa_server.header import unpack
from safa_server.http import HttpRequest, HttpResponse, refusal
from safa_server.security import is_loopback, token_in
from safa_server.websocket import Front, chosen
from safa_server.wire import parse
from safa_stream.errors import SafaError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Frames that a client which acknowledges them may be behind (ten seconds). A server that has the port takes what it is
#: given at once, however slowly it leaves: only the client can say that it is slow.
MOST_UNHEARD = 500
STRANGER = "a server without a token serves its own machine only"


class FrontEnd:
    """The ASGI application: one front end, begun with its server and ready once the cluster is.

    begin: finds the cluster, or raises SafaError. Without a token nobody is served who is not on this machine, wherever
    the server that has the port listens.
    """

    def __init__(self, begin: Callable[[], Awaitable[tuple[Lobby, FrontHttp]]]) -> None:
        self._begin = begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the server's own beginning and end."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        asked = _request(scope)
        stranger = self._lobby.security.token is None and not is_loopback((scope.get("client") or ("",))[0])
        if scope["type"] == "websocket":
            await self._websocket(scope, asked, stranger, receive, send)
        else:
            found = refusal(HTTPStatus.FORBIDDEN, STRANGER) if stranger else self._http.respond(asked)
            await _answer(await found if isinstance(found, Awaitable) else found, asked.method, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._lobby, self._http = await self._begin()
            self._front = Front(self._lobby, self._http, self._lobby.serve)
        except SafaError as error:
            return await send({"type": "lifespan.startup.failed", "message": str(error)})
        sweeping = asyncio.create_task(self._front.look_after(), name="sweep")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        sweeping.cancel()
        self._lobby.tell_all("the front end is shutting down")
        await send({"type": "lifespan.shutdown.complete"})

    async def _websocket(self, scope: Scope, asked: HttpRequest, stranger: bool, receive: Receive, send: Send) -> None:
        found = refusal(HTTPStatus.FORBIDDEN, STRANGER) if stranger else self._front.admit(asked)
        try:
            protocol = chosen(scope.get("subprotocols") or ())
        except NegotiationError as error:
            found = found or refusal(HTTPStatus.BAD_REQUEST, str(error))
        await receive()
        if found is not None:
            return await _deny(found, scope, send)
        await send({"type": "websocket.accept", "subprotocol": protocol})
        who = self._lobby.security.who(token_in(asked.headers, asked.query))
        await self._lobby.serve(Socket(receive, send, self._lobby.limits.message_bytes), who).run()


class Socket:
    """An ASGI WebSocket as a relay's client."""

    def __init__(self, receive: Receive, send: Send, largest: int) -> None:
        self._receive, self._send, self._largest = receive, send, largest
        self._open, self._news = True, asyncio.Event()
        self._heard: int | None = None

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Its messages, until it has gone."""
        while self._open:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                self._open = False
                self._news.set()
                return
            message = event.get("text")
            if message is None:
                message = event["bytes"]
            if len(message) > self._largest:
                await self.close(1009, f"a message has at most {self._largest} bytes")
            else:
                self._note(message)
                yield message

    async def send(self, message: str | bytes) -> None:
        """Raises ConnectionClosed where the client has gone."""
        if not self._open:
            raise ConnectionClosedError(None, None)
        if isinstance(message, bytes):
            await self._room(unpack(message)[0].sequence)
        await self._send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it; once is enough."""
        if self._open:
            self._open = False
            self._news.set()
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def _note(self, message: str | bytes) -> None:
        """Which frame a client has acknowledged."""
        with suppress(WireError):
            found = parse(message) if isinstance(message, str) and '"ack"' in message else {}
            if found.get("type") == "ack" and isinstance(found.get("sequence"), int):
                self._heard = found["sequence"]
                self._news.set()

    async def _room(self, sequence: int) -> None:
        """Wait while a client that acknowledges frames is too far behind this one."""
        while self._open and self._heard is not None and sequence - self._heard > MOST_UNHEARD:
            self._news.clear()
            await self._news.wait()


def _request(scope: Scope) -> HttpRequest:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    path, query = scope["path"].removeprefix(scope.get("root_path", "")), scope.get("query_string", b"")
    target = f"{quote(path)}?{query.decode('latin-1')}" if query else quote(path)
    return HttpRequest(scope.get("method", "GET"), target, headers)


async def _answer(response: HttpResponse, method: str, send: Send, kind: str = "http.response") -> None:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.all_headers()]
    await send({"type": f"{kind}.start", "status": response.status.value, "headers": headers})
    await send({"type": f"{kind}.body", "body": b"" if method == "HEAD" else response.body})


async def _deny(response: HttpResponse, scope: Scope, send: Send) -> None:
    """Say why where the server can: without its help the client is told 403."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await _answer(response, "GET", send, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
