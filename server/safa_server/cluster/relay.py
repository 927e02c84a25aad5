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
import struct
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from safa_server import control
from safa_server.cluster.desk import Client, Desk
from safa_server.cluster.dialling import dial
from safa_server.cluster.engine import MOVED
from safa_server.cluster.entrance import RETRY, Entered, Entrance
from safa_server.cluster.ports import Route
from safa_server.fields import WireError
from safa_server.guests import Guests
from safa_server.header import PLAIN, SIZES
from safa_server.principal import Access, Principal
from safa_server.wire import parse, request_id, write
from safa_stream.errors import FailureError

log = logging.getLogger("safa_server.cluster.front")

#: Without a frame for so long, a front end asks whether the engine still has the session, seconds.
STALLED = 1.0
#: While frames come, it asks so often.
CHECK = 5.0
#: Answers of an engine that end a session for good, or this client's hearing of it; all others are a loss.
_FINAL = frozenset((1000, 1008, 1009, 1013))
#: What needs not be said again: it is said all the time, or made up for otherwise.
_PASSING = frozenset(("ack", "playhead", "grant"))
_SEQUENCE_AT = 16


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a client hears, so that it can be joined again. by_grant: whether its grants may drive the session; until:
    the sample of the session's clock up to which they let it go; last: number of the latest frame."""

    route: Route
    join: control.Join
    by_grant: bool
    until: int
    last: int | None = None


class Relay:
    """See the module. who: who the handshake's token says it is."""

    def __init__(self, client: Client, desk: Desk, who: Principal, guests: Guests) -> None:
        self._client, self._desk, self._who, self._guests = client, desk, who, guests
        self._name = secrets.token_hex(6)
        self._number = 0
        self._asked: dict[int, tuple[int | None, dict[str, Any]]] = {}
        self._engine: ClientConnection | None = None
        self._hearing: Hearing | None = None
        self._linked = asyncio.Event()
        self._closing: str | None = None
        self._cutting: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the client until it goes, or its session ends."""
        messages = aiter(self._client)
        patience = self._desk.limits.first_message_seconds
        self._known_as(self._who)
        try:
            async with asyncio.timeout(patience):
                entered = await Entrance(self._client, self._desk, self._who, self._known_as).enter(messages)
            if entered is not None:
                await self._begin(entered)
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
            self._guests.leave(self)
            if self._engine is not None:
                await self._engine.close()

    async def _begin(self, entered: Entered) -> None:
        """Tell the client what its engine has answered, in this front end's words."""
        answer, names = entered.answer, ("session", "control", "format", "channels", "layer", "header")
        own = answer["rate"] == answer["session_rate"]
        join = replace(entered.join, rate=None if own else answer["rate"], **{name: answer[name] for name in names})
        self._engine = entered.engine
        by_grant = answer["pacing"] != "live" and join.control
        # Who comes back to its session by another front end has granted what is still to come.
        until = answer["position"] + answer["credit"]
        self._hearing = Hearing(entered.route, join, by_grant, until, join.from_)
        self._linked.set()
        security = self._desk.security
        told = {
            **answer,
            "guarded": security.token is not None,
            "listen_token": None if self._who.tenant else security.listen_token,
        }
        del told["id"]
        await self._client.send(_text(told, entered.number))

    def _known_as(self, who: Principal) -> None:
        """From now on the client is here by this right, and goes when it ends."""
        self._who = who
        self._guests.enter(self, who, self._cut)

    def _cut(self, reason: str) -> None:
        self._cutting = asyncio.get_running_loop().create_task(self._say_why_and_close(reason))

    async def _say_why_and_close(self, reason: str) -> None:
        with suppress(ConnectionClosed):
            await self._client.send(write(control.Closing(reason=reason)))
        await self._client.close(1008, reason[:120])

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
        """Hand on what comes, until the engine's connection ends: with which code, and why.

        An engine that was given up may live on and send: its frames are not the session's any more. So the head is
        asked now and then; where it could not say after a silence that the session is still there, nothing is handed on
        before it has.
        """
        engine = self._engine
        assert engine is not None
        asked, sure = time.monotonic(), True
        while True:
            try:
                async with asyncio.timeout(STALLED):
                    message = await engine.recv()
            except TimeoutError:
                message = None
            except ConnectionClosed as closed:
                return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")
            found: bool | None = True
            if message is None:
                found = await self._is_there(0.0)
                sure = found is True
            elif isinstance(message, bytes) and (not sure or time.monotonic() - asked > CHECK):
                # None by then: it has ended, and these are its last frames.
                found = await self._is_there(self._desk.limits.resume_seconds, look=not sure)
                asked, sure = time.monotonic(), True
            if found is False:
                engine.transport.abort()
                return MOVED, "elsewhere"
            if isinstance(message, bytes):
                if self._is_new(message):
                    await self._client.send(message)
            elif message is not None:
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

    async def _is_there(self, seconds: float, look: bool = True) -> bool | None:
        """Is the session this engine's? None where it is nobody's, and still changes hands after so many seconds.

        look: whether the engine had better be looked at, as nothing came from it.
        """
        hearing, switchboard = self._hearing, self._desk.switchboard
        assert hearing is not None
        session, engine, epoch = hearing.join.session, hearing.route.engine, hearing.route.epoch
        try:
            asked = switchboard.broken(session, engine, epoch, seconds) if look else switchboard.where(session, seconds)
            route = await asked
        except FailureError:  # the head is away: all goes on as it was
            return True
        return None if route is None else route.epoch <= epoch

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
                    # The session's own token, or that the client was let in before, is right enough.
                    who, join = Principal(Access.LISTEN, self._who.tenant), replace(hearing.join, from_=hearing.last)
                    self._engine, answer = await dial(route, join, self._desk.pass_of(who))
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


def _text(message: dict[str, Any], number: int | None) -> str:
    kind = message["type"]
    rest = {name: value for name, value in message.items() if name != "type"}
    return json.dumps({"type": kind, **({} if number is None else {"id": number}), **rest}, separators=(",", ":"))
