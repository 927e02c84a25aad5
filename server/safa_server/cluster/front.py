"""A front end of a cluster: the port that clients see. It keeps nothing: any other front end can go on in its place."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from websockets.exceptions import ConnectionClosed

from safa_server import control
from safa_server.cluster.desk import Client, Desk, Switchboard
from safa_server.cluster.metrics_text import merged
from safa_server.cluster.passes import pass_for
from safa_server.cluster.relay import Relay
from safa_server.guests import Guests
from safa_server.http import TEXT, Http, HttpRequest, HttpResponse, refusal, unauthorized
from safa_server.limits import Limits
from safa_server.metrics import CONTENT_TYPE, Registry
from safa_server.osc_reception import OscCounts, OscReception
from safa_server.principal import OPERATOR, Access, Principal
from safa_server.schema import document
from safa_server.security import Security, token_in
from safa_server.serve import osc_table, page_folder
from safa_server.station import Station
from safa_server.websocket import Front
from safa_server.wire import write
from safa_stream.errors import FailureError

log = logging.getLogger("safa_server.cluster.front")

#: How long an engine's page may take, and how large it may be: a captured loop is the largest.
FETCH_SECONDS, LARGEST_ANSWER = 10.0, 512 << 20
#: Of its headers these are handed on.
KEPT_HEADERS = ("Content-Disposition", "Cache-Control")


class Overseer(Switchboard, Protocol):
    """A head, as front ends ask it."""

    async def status(self) -> dict[str, Any]: ...


class Lobby:
    """What the port needs beside the desk: who is there, so that all can be told of the end."""

    def __init__(self, desk: Desk, osc: OscReception | None = None) -> None:
        self.desk, self._osc = desk, osc
        self._counted = OscCounts()
        self.limits, self.metrics, self.security = desk.limits, desk.metrics, desk.security
        self.guests = Guests(desk.security, desk.metrics)
        self.there: set[Client] = set()
        self._telling: set[asyncio.Task[None]] = set()

    def serve(self, client: Client, who: Principal) -> Visit:
        """A client."""
        return Visit(self, client, who)

    def sweep(self) -> None:
        """Sessions are the engines' to look after; who may not be here any more is cut here."""
        self.guests.sweep()
        self.metrics.set("safa_front_clients", len(self.there))
        if self._osc is not None:
            now, before = self._osc.counts, self._counted
            self.metrics.add("safa_osc_messages_total", now.messages - before.messages)
            self.metrics.add("safa_osc_refused_total", now.errors - before.errors)
            self._counted = replace(now)

    def tell_all(self, reason: str) -> None:
        """Say to every client that the front end is about to close its connection."""
        told = write(control.Closing(reason=reason))
        for client in list(self.there):
            task = asyncio.ensure_future(_said(client, told))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)


@dataclass(frozen=True, slots=True)
class Visit:
    """A client as it is served, who is there meanwhile."""

    lobby: Lobby
    client: Client
    who: Principal

    async def run(self) -> None:
        """Serve it until it goes, or its session ends."""
        self.lobby.there.add(self.client)
        try:
            await Relay(self.client, self.lobby.desk, self.who, self.lobby.guests).run()
        finally:
            self.lobby.there.discard(self.client)


async def _said(client: Client, text: str) -> None:
    with suppress(ConnectionClosed):
        await client.send(text)


class NoSessions:
    """A front end's own sessions: there are none."""

    draining = False

    def all(self) -> list[Station]:
        """Those that are on the air here."""
        return []

    def find(self, session_id: str) -> Station | None:
        """A session that is on the air here."""
        return None


@dataclass(frozen=True, slots=True)
class FrontHttp:
    """A front end's pages: its own, and what engines have, fetched from them.

    own: the pages that it has itself; head: who knows where engines are; secret: the cluster's; name: the front end's.
    """

    own: Http
    head: Overseer
    secret: str
    name: str

    def respond(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """The answer, at once or when an engine has given it."""
        try:
            path, given = request.path, token_in(request.headers, request.query)
        except ValueError:
            return self.own.respond(request)
        if request.method == "GET" and self.own.security.knows_host(request.headers.get("host")):
            if path.startswith("/sessions/"):
                return self._from_engine(path, given)
            if path == "/metrics" and self.own.security.who(given).operates:
                return self._all_metrics()
        return self.own.respond(request)

    async def _from_engine(self, path: str, given: str | None) -> HttpResponse:
        who = self.own.security.who(given)
        if who.access is Access.NONE and given is None:
            return unauthorized(who.refusal)
        try:
            route = await self.head.where(path.split("/")[2])
            if route is None:
                if who.access is Access.NONE:
                    return unauthorized(who.refusal)
                return refusal(HTTPStatus.NOT_FOUND, "there is no such session or loop")
            # A session's own token is for its engine to look at.
            token = given if who.access is Access.NONE else pass_for(self.secret, who)
            answer = await fetched(route.url, quote(path), token or "")
            # In the words of a session that is nowhere: whose it is concerns nobody else.
            return unauthorized(who.refusal) if answer.status is HTTPStatus.UNAUTHORIZED else answer
        except (OSError, FailureError, TimeoutError) as error:
            return refusal(HTTPStatus.BAD_GATEWAY, f"the session's engine did not answer: {error}")

    async def _all_metrics(self) -> HttpResponse:
        texts: dict[str, str | None] = {}
        try:
            engines = (await self.head.status())["engines"]
        except FailureError:
            engines = {}
        token = pass_for(self.secret, OPERATOR)

        async def of(name: str, url: str) -> None:
            try:
                texts[name] = (await fetched(url, "/metrics", token)).body.decode()
            except (OSError, FailureError, TimeoutError):
                texts[name] = None

        await asyncio.gather(*(of(name, one["url"]) for name, one in engines.items()))
        return HttpResponse(HTTPStatus.OK, CONTENT_TYPE, merged(texts, {self.name: self.own.metrics.text()}).encode())


async def fetched(url: str, path: str, token: str) -> HttpResponse:
    """What an engine answers to GET. url: of its WebSocket. Raises OSError, TimeoutError, FailureError."""
    place = urlsplit(url)
    async with asyncio.timeout(FETCH_SECONDS):
        reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 20)
        try:
            host = f"{place.hostname}:{place.port}"
            lines = (f"GET {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}", "Connection: close")
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            size = int(headers.get("content-length", "0"))
            if not 0 <= size <= LARGEST_ANSWER:
                raise FailureError(f"the answer has {size} bytes")
            body = await reader.readexactly(size)
        except (ValueError, IndexError, asyncio.IncompleteReadError) as error:
            raise FailureError(f"the answer cannot be read: {error}") from None
        finally:
            writer.close()
    kept = tuple((name, headers[name.lower()]) for name in KEPT_HEADERS if name.lower() in headers)
    return HttpResponse(HTTPStatus(int(head[0].split()[1])), headers.get("content-type", TEXT), body, kept)


def parts(
    head: Overseer, secret: str, security: Security, limits: Limits, name: str, osc: OscReception | None = None
) -> tuple[Lobby, FrontHttp]:
    """What serves WebSockets and what answers requests, whoever has the port. name: of the front end, in metrics."""
    metrics = Registry()
    table = None if osc is None else osc_table
    own = Http(NoSessions(), security, metrics, page_folder(), lambda: None, document, table)
    return Lobby(Desk(head, secret, security, limits, metrics), osc), FrontHttp(own, head, secret, name)


@asynccontextmanager
async def front_end(
    host: str,
    port: int,
    head: Overseer,
    secret: str,
    security: Security,
    limits: Limits,
    name: str,
    tls: ssl.SSLContext | None = None,
    osc: OscReception | None = None,
) -> AsyncIterator[int]:
    """Serve clients within this context; gives the port. name: of the front end, in metrics; osc: its OSC port, which
    is open already. Raises FailureError."""
    lobby, http = parts(head, secret, security, limits, name, osc)
    front = Front(lobby, http, lobby.serve)
    async with front.listen(host, port, tls) as found:
        yield found
