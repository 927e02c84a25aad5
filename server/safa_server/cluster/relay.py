"""One client of a front end: it talks to the engine that has its session, whichever that is at the moment.

Frames and answers are handed on as they come. When the engine is lost, or the session moves, the relay joins it again
where it is then, from the last frame that it has got; what was asked meanwhile, or not answered yet, is said again, and
done once. The client notices nothing but the time that it takes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from safa_server import control
from safa_server.cluster.engine import MOVED
from safa_server.cluster.head import Route
from safa_server.cluster.passes import pass_for
from safa_server.connection import refusal
from safa_server.fields import WireError
from safa_server.header import PLAIN, SIZES
from safa_server.limits import Limits
from safa_server.metrics import Registry
from safa_server.security import Access, Security
from safa_server.wire import Request, parse, read, request_id, write
from safa_stream.errors import FailureError, SafaError
from safa_stream.session.livescene import LiveScene

log = logging.getLogger("safa_server.cluster.front")

#: Without a frame for so long, a front end asks whether the engine still has the session, seconds.
STALLED = 1.0
#: Between two tries to join a session again.
RETRY = 0.1
#: How long an engine may take to answer.
ANSWER_SECONDS = 10.0
#: Engines that are tried for a new session.
TRIES = 3
#: What the system takes of an engine's sound before a front end reads it, bytes.
RECEIVE_BUFFER = 32 << 10
#: Answers of an engine that end a session for good, or this client's hearing of it; all others are a loss.
_FINAL = frozenset((1000, 1008, 1009, 1013))
#: What needs not be said again: it is said all the time, or made up for otherwise.
_PASSING = frozenset(("ack", "playhead", "grant"))
_SEQUENCE_AT = 16


class Client(Protocol):
    """A WebSocket of a client, of whichever library. Iteration ends when the client has gone."""

    def __aiter__(self) -> AsyncIterator[str | bytes]: ...

    async def send(self, message: str | bytes) -> None:
        """Waits while the client has too much to take. Raises ConnectionClosed."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class Switchboard(Protocol):
    """Who knows where sessions are: a head, wherever it runs. Raises FailureError where it cannot be asked."""

    async def place(self, rows: int, without: Collection[str] = ()) -> Route | None: ...

    async def where(self, session: str, seconds: float = 0.0) -> Route | None: ...

    async def broken(self, session: str, engine: str, epoch: int, seconds: float) -> Route | None: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """What all relays of a front end share. secret: the cluster's."""

    switchboard: Switchboard
    secret: str
    security: Security
    limits: Limits
    metrics: Registry


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a client hears, so that it can be joined again. by_grant: whether its grants may drive the session; until: the
    sample of the session's clock up to which they let it go; last: number of the latest frame."""

    route: Route
    join: control.Join
    by_grant: bool
    until: int
    last: int | None = None


class Relay:
    """See the module. access: what the handshake's token allows."""

    def __init__(self, client: Client, desk: Desk, access: Access) -> None:
        self._client, self._desk, self._access = client, desk, access
        self._name = secrets.token_hex(6)
        self._number = 0
        self._asked: dict[int, tuple[int | None, dict[str, Any]]] = {}
        self._engine: ClientConnection | None = None
        self._hearing: Hearing | None = None
        self._linked = asyncio.Event()
        self._closing: str | None = None

    async def run(self) -> None:
        """Serve the client until it goes, or its session ends."""
        messages = aiter(self._client)
        patience = self._desk.limits.first_message_seconds
        try:
            async with asyncio.timeout(patience):
                entered = await self._enter(messages)
            if entered:
                down = asyncio.create_task(self._down(), name="relay down")
                up = asyncio.create_task(self._up(messages), name="relay up")
                await asyncio.wait((down, up), return_when=asyncio.FIRST_COMPLETED)
                for task in (down, up):
                    task.cancel()
                for result in await asyncio.gather(down, up, return_exceptions=True):
                    if isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                        raise result
        except TimeoutError:
            await self._client.close(1008, f"say open or join within {patience:g} s")
        except ConnectionClosed:
            pass
        finally:
            if self._engine is not None:
                await self._engine.close()

    # Until there is a session --------------------------------------------------------------------------------------

    async def _enter(self, messages: AsyncIterator[str | bytes]) -> bool:
        """Answer until a session is opened or joined; whether it was."""
        async for message in messages:
            number = None
            try:
                if isinstance(message, bytes):
                    raise WireError("bad_message", "binary messages mean nothing here; commands are JSON texts")
                found = parse(message)
                number = request_id(found)
                await self._first(read(found))
                return True
            except SafaError as error:
                await self._refuse(error.answer if isinstance(error, Refused) else refusal(error), number)
                if isinstance(error, WireError) and error.code == "token":
                    await self._client.close(1008, str(error)[:120])
                    return False
        return False

    async def _first(self, request: Request) -> None:
        """Carry out `open` or `join`. Raises SafaError where it is refused."""
        body = request.body
        if isinstance(body, control.Open):
            access = self._allowed(body.token)
            await self._open(body, access, request.id)
        elif isinstance(body, control.Join):
            access = self._allowed(body.token, shown=body.token is not None)
            await self._join(body, access, request.id)
        else:
            raise WireError("not_open", "this connection has no session yet: say open or join first")

    async def _open(self, body: control.Open, access: Access, number: int | None) -> None:
        if access is not Access.ALL:
            raise WireError("listen_only", "this token only listens: it opens no session; join one", "token")
        tried: list[str] = []
        while True:
            route = await self._desk.switchboard.place(_rows(body), tried)
            if route is None:
                self._desk.metrics.add("safa_sessions_refused_total", reason="admission")
                raise Refused(
                    control.Error(
                        code="admission",
                        reason="no engine of this cluster has room for another session",
                        retry_after=10.0,
                    )
                )
            try:
                answer = await self._dial(route, replace(body, token=None), access)
            except FailureError as error:
                tried.append(route.engine)
                decided = isinstance(error, Refused) and error.answer.code != "admission"
                if decided or len(tried) >= TRIES:
                    raise
                continue
            join = control.Join(session=answer["session"], token=answer["token"], control=True)
            return await self._begin(route, join, answer, number)

    async def _join(self, body: control.Join, access: Access, number: int | None) -> None:
        switchboard, left = self._desk.switchboard, self._desk.limits.resume_seconds
        end = time.monotonic() + left
        route = await switchboard.where(body.session, left)
        while route is not None:
            try:
                answer = await self._dial(route, body, access)
            except FailureError as error:
                # An engine that is lost just now: the session will be another's.
                left = end - time.monotonic()
                if isinstance(error, Refused) or left <= 0:
                    raise
                await asyncio.sleep(RETRY)
                route = await switchboard.broken(body.session, route.engine, route.epoch, left)
                continue
            return await self._begin(route, body, answer, number)
        raise WireError("no_session", f"there is no session {body.session!r} (any more)", "session")

    def _allowed(self, given: str | None, shown: bool = False) -> Access:
        """What the client may do; shown: it has another token, which the session's engine will look at."""
        access = max(self._access, self._desk.security.access(given))
        if access is Access.NONE and not shown:
            raise WireError("token", "the token is missing or wrong", "token")
        return access

    async def _dial(self, route: Route, body: control.Open | control.Join, access: Access) -> dict[str, Any]:
        """Connect to an engine and have `body` carried out; its answer. Raises Refused, or FailureError."""
        engine = await _connect(route.url, pass_for(self._desk.secret, access))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await engine.send(write(body, 0))
                while True:
                    answer = await engine.recv()
                    found = json.loads(answer) if isinstance(answer, str) else {}
                    if found.get("id") == 0:
                        break
        except (TimeoutError, ConnectionClosed) as error:
            await engine.close()
            raise FailureError(f"{route.engine} did not answer: {error}") from None
        if found["type"] == "error":
            await engine.close()
            raise Refused(
                control.Error(
                    code=found["code"],
                    reason=found["reason"],
                    field=found.get("field"),
                    retry_after=found.get("retry_after"),
                )
            )
        self._engine = engine
        return dict(found)

    async def _begin(self, route: Route, join: control.Join, answer: dict[str, Any], number: int | None) -> None:
        names = ("session", "control", "format", "channels", "layer", "header")
        own = answer["rate"] == answer["session_rate"]
        join = replace(join, rate=None if own else answer["rate"], **{name: answer[name] for name in names})
        by_grant = answer["pacing"] != "live" and join.control
        # Who comes back to its session by another front end has granted what is still to come.
        self._hearing = Hearing(route, join, by_grant, answer["position"] + answer["credit"], join.from_)
        self._linked.set()
        security = self._desk.security
        told = {**answer, "guarded": security.token is not None, "listen_token": security.listen_token}
        del told["id"]
        await self._client.send(_text(told, number))

    # While there is one --------------------------------------------------------------------------------------------

    async def _up(self, messages: AsyncIterator[str | bytes]) -> None:
        async for message in messages:
            await self._linked.wait()
            assert self._engine is not None
            # What is lost with an engine is said again by `_again`, as far as it has to be.
            with suppress(ConnectionClosed):
                await self._engine.send(self._outgoing(message))

    def _outgoing(self, message: str | bytes) -> str | bytes:
        """A client's message as the engine gets it: with an id by which its answer is known."""
        assert self._hearing is not None
        try:
            found = parse(message)
            number = request_id(found)
        except WireError:
            return message
        if found.get("type") == "grant" and isinstance(found.get("samples"), int):
            self._hearing = replace(self._hearing, until=self._hearing.until + found["samples"])
        if found.get("type") in _PASSING and number is None:
            return message
        self._number += 1
        found.setdefault("once", f"{self._name}.{self._number}")
        found["id"] = self._number
        self._asked[self._number] = (number, found)
        return json.dumps(found)

    async def _down(self) -> None:
        while True:
            code, reason = await self._listen()
            if code in _FINAL:
                if self._closing is not None:
                    await self._client.send(self._closing)
                return await self._client.close(code, reason)
            self._linked.clear()
            self._closing = None
            began = time.monotonic()
            if not await self._rejoin():
                await self._client.send(write(control.Closing(reason="the session is lost")))
                return await self._client.close(1011, "the session is lost")
            self._desk.metrics.observe("safa_front_rejoin_seconds", time.monotonic() - began)
            self._linked.set()

    async def _listen(self) -> tuple[int, str]:
        """Hand on what comes, until the engine's connection ends: with which code, and why."""
        engine = self._engine
        assert engine is not None
        while True:
            try:
                async with asyncio.timeout(STALLED):
                    message = await engine.recv()
            except TimeoutError:
                if await self._is_elsewhere():
                    engine.transport.abort()
                    return MOVED, "elsewhere"
                continue
            except ConnectionClosed as closed:
                return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")
            if isinstance(message, bytes):
                if self._is_new(message):
                    await self._client.send(message)
            else:
                answer = self._incoming(message)
                if answer is not None:
                    await self._client.send(answer)

    def _is_new(self, frame: bytes) -> bool:
        """Note a frame; whether the client has not had it yet."""
        assert self._hearing is not None
        if len(frame) < SIZES[PLAIN]:
            return True
        (sequence,) = struct.unpack_from("<Q", frame, _SEQUENCE_AT)
        if self._hearing.last is not None and sequence <= self._hearing.last:
            return False
        self._hearing = replace(self._hearing, last=sequence)
        return True

    def _incoming(self, message: str) -> str | None:
        """An engine's text as the client gets it, None for what it has not asked for."""
        found = json.loads(message)
        if found.get("type") == "closing":
            self._closing = message
            return None
        asked = self._asked.pop(found.get("id"), None) if "id" in found else None
        if asked is None:
            return message
        number, _ = asked
        del found["id"]
        return None if number is None and found["type"] != "error" else _text(found, number)

    async def _is_elsewhere(self) -> bool:
        hearing = self._hearing
        assert hearing is not None
        try:
            route = await self._desk.switchboard.broken(
                hearing.join.session, hearing.route.engine, hearing.route.epoch, 0.0
            )
        except FailureError:
            return False
        return route is not None and route.epoch > hearing.route.epoch

    async def _rejoin(self) -> bool:
        """Join the session where it is now; whether that could be done in time."""
        hearing = self._hearing
        assert hearing is not None
        end = time.monotonic() + self._desk.limits.resume_seconds
        while (left := end - time.monotonic()) > 0:
            try:
                route = await self._desk.switchboard.broken(
                    hearing.join.session, hearing.route.engine, hearing.route.epoch, left
                )
                if route is not None:
                    answer = await self._dial(route, replace(hearing.join, from_=hearing.last), Access.LISTEN)
                    self._hearing = hearing = replace(hearing, route=route)
                    await self._again(answer["position"] + answer["credit"])
                    return True
            except (FailureError, ConnectionClosed) as error:
                log.info("session %s is not back yet: %s", hearing.join.session, error)
            await asyncio.sleep(RETRY)
        return False

    async def _again(self, until: int) -> None:
        """Say again what an engine may not have heard, or not have answered. until: how far it has been let go."""
        assert self._engine is not None and self._hearing is not None
        if self._hearing.by_grant and self._hearing.until > until:
            await self._engine.send(write(control.Grant(samples=self._hearing.until - until)))
        for number, (told, found) in list(self._asked.items()):
            if found.get("type") != "grant":
                await self._engine.send(json.dumps(found))
                continue
            # What is left of it is in the sum; granted twice, more would come than the client takes.
            del self._asked[number]
            if told is not None:
                await self._client.send(write(control.Done(command=None), told))

    async def _refuse(self, refused: control.Error, number: int | None) -> None:
        self._desk.metrics.add("safa_messages_refused_total", code=refused.code)
        await self._client.send(write(refused, number))


class Refused(FailureError):
    """An engine, or no engine, has said no."""

    def __init__(self, answer: control.Error) -> None:
        super().__init__(answer.reason)
        self.answer = answer


async def _connect(url: str, token: str) -> ClientConnection:
    """A connection to an engine. Raises FailureError."""
    try:
        engine = await connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=[Subprotocol("safa.v1")],
            compression=None,
            open_timeout=ANSWER_SECONDS,
            max_size=None,
            close_timeout=1.0,
            ping_interval=None,
        )
    except (OSError, InvalidHandshake) as error:
        raise FailureError(f"cannot connect to {url}: {error}") from None
    # What waits for a slow client is to wait in the engine, which looks after it; what is on its way is lost with it.
    engine.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return engine


def _rows(body: control.Open) -> int:
    """Layers, each as often as it has pairs of channels: what a session will cost."""
    try:
        scene = LiveScene.from_value(body.scene)
    except SafaError:
        return 1
    return len(scene.layers) * max(1, -(-max(scene.channels, body.channels or 0) // 2))


def _text(message: dict[str, Any], number: int | None) -> str:
    kind = message["type"]
    rest = {name: value for name, value in message.items() if name != "type"}
    return json.dumps({"type": kind, **({} if number is None else {"id": number}), **rest}, separators=(",", ":"))
