"""A Python client of the live server (PROTOCOL.md). A connection that breaks is taken up again, and nothing is missed
that the server still has; `client.lost` counts the rest.

    async with SafaClient.connect("ws://127.0.0.1:8765/ws") as client:
        await client.open("rain on a tent, distant thunder:0.4")
        await client.send(Mix(layer=0, gain=-6.0))     # any command of safa_stream.session.messages
        async for frame in client:                     # until the session ends; 20 ms each
            play(frame.samples())                      # float32 [channels, N]
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from safa_server.control import Ack, Control, GetState, Join, Open
from safa_server.header import TIMED, Header, samples, unpack
from safa_server.wire import write
from safa_stream.errors import FailureError, SafaError
from safa_stream.session.messages import Command
from safa_stream.types import FloatArray

#: One frame in so many is acknowledged. Where more frames or events wait to be read, the oldest goes.
ACK_EVERY, MOST_FRAMES, MOST_EVENTS = 10, 3000, 1000


class Refused(SafaError):
    """The server refused a message. answer: its JSON object, with code, reason, field and retry_after."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["reason"])
        self.answer = answer


class Ended(FailureError):
    """The session is over: it was closed, by whoever may."""


@dataclass(frozen=True, slots=True)
class Received:
    """One audio frame. lost: samples that are missing right before it."""

    header: Header
    payload: bytes = field(repr=False)
    lost: int = 0

    def samples(self) -> FloatArray:
        """Float32 [channels, frames], full scale 1; PCM formats only."""
        return samples(self.header, self.payload)


class SafaClient:
    """opened: the answer to open or join, with position and credit as of the latest resumption; resumed: how many there
    were; events: the session's latest, as JSON objects; last: header of the latest frame; lost: samples missing."""

    def __init__(self, dial: Callable[[], Any], socket: ClientConnection) -> None:
        self.opened: dict[str, Any] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        self.last: Header | None = None
        self.lost = self.resumed = 0
        self._dial, self._socket, self._news, self._numbers = dial, socket, asyncio.Event(), itertools.count(1)
        self._frames: deque[Received] = deque(maxlen=MOST_FRAMES)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._over: FailureError | None = None

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str, token: str | None = None, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Self]:
        """Connect to a server. token: the server's. Raises FailureError where it cannot be reached or refuses."""
        options: dict[str, Any] = {"subprotocols": [Subprotocol("safa.v1")], "compression": None}
        options |= {"ssl": tls} if tls else {}
        options |= {"additional_headers": {"Authorization": f"Bearer {token}"}} if token else {}
        try:
            client = cls(lambda: connect(url, **options), await connect(url, **options))
        except (OSError, InvalidHandshake) as error:
            raise FailureError(f"cannot connect to {url}: {error}") from None
        reading = asyncio.get_running_loop().create_task(client._read())
        try:
            yield client
        finally:
            client._break(Ended("the client was closed"), over=True)
            await client._socket.close()
            reading.cancel()

    async def open(self, scene: str | dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Begin a session and return the server's answer; fields as of `control.Open`, frames with beat time."""
        self.opened = await self.ask(Open(scene=scene, **{"header": TIMED, **fields}))
        return self.opened

    async def join(self, session: str, token: str | None = None, **fields: Any) -> dict[str, Any]:
        """Listen to a session; fields as of `control.Join`, frames with beat time."""
        found = await self.ask(Join(session=session, token=token, **{"header": TIMED, **fields}))
        self.opened = {**found, "token": found["token"] or token}
        return self.opened

    async def send(self, message: Command | Control, trace: str | None = None) -> Any:
        """Have a message carried out; gives a command's number, which events name. As `ask`, and raises as it."""
        return (await self.ask(message, trace)).get("command")

    async def state(self) -> Any:
        """The session's state, as a JSON object."""
        return (await self.ask(GetState()))["state"]

    async def ask(self, message: Command | Control, trace: str | None = None) -> dict[str, Any]:
        """The answer to a message. trace: a W3C traceparent. Raises Refused, or FailureError where none can come."""
        if self._over is not None:
            raise self._over
        answer = self._answers[number := next(self._numbers)] = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send(write(message, number, trace))
            found: dict[str, Any] = await answer
        except ConnectionClosed as closed:
            raise FailureError(f"the connection broke: {closed}") from None
        finally:
            del self._answers[number]
        if found["type"] == "error":
            raise Refused(found)
        return found

    def __aiter__(self) -> SafaClient:
        return self

    async def __anext__(self) -> Received:
        """The next frame. Raises FailureError where the session is lost."""
        while not self._frames:
            if self._over is not None:
                raise StopAsyncIteration if isinstance(self._over, Ended) else self._over
            self._news.clear()
            await self._news.wait()
        return self._frames.popleft()

    async def _read(self) -> None:
        while self._over is None:
            try:
                while True:
                    await self._take(await self._socket.recv())
            except ConnectionClosed as closed:
                code, why = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (0, "")
                if code in (1000, 1008):  # it is over, or takes another token
                    end = (Ended if code == 1000 else FailureError)(f"the session was closed: {why or 'as asked'}")
                    return self._break(end, over=True)
                self._break(FailureError(f"the connection broke: {closed}"))
                await self._resume()
            except SafaError as error:
                self._break(FailureError(f"the server sent what cannot be: {error}"), over=True)

    async def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            found = json.loads(message)
            waiting = self._answers.get(found.get("id"))
            return waiting.set_result(found) if waiting and not waiting.done() else self.events.append(found)
        head, payload = unpack(message)
        lost = 0 if self.last is None else head.start - self.last.start - self.last.frames
        self.lost, self.last = self.lost + lost, head
        self._frames.append(Received(head, payload, lost))
        self._news.set()
        if head.sequence % ACK_EVERY == 0:
            with suppress(ConnectionClosed):
                await self._socket.send(write(Ack(sequence=head.sequence)))

    async def _resume(self) -> None:
        names = {"session", "token", "control", "format", "rate", "channels", "layer", "header"} & set(self.opened)
        names -= {"rate"} if self.opened.get("rate") == self.opened.get("session_rate") else set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.opened.get("resume_seconds", 0.0)):
                for pause in itertools.chain((0.0, 0.1, 0.3), itertools.repeat(1.0)):
                    await asyncio.sleep(pause)
                    with suppress(OSError, InvalidHandshake, ConnectionClosed):
                        self._socket = await self._dial()
                        join = Join(**{n: self.opened[n] for n in names}, from_=getattr(self.last, "sequence", None))
                        await self._socket.send(write(join, 0))
                        answer = json.loads(await self._socket.recv())
                        if answer["type"] == "opened":
                            self.resumed += 1
                            self.opened = {**self.opened, "position": answer["position"], "credit": answer["credit"]}
                        elif answer["type"] == "error":
                            self._break(FailureError(f"the session cannot be resumed: {answer['reason']}"), over=True)
                        return
        self._break(FailureError("the connection broke and the server cannot be reached"), over=True)

    def _break(self, reason: FailureError, over: bool = False) -> None:
        for waiting in (one for one in self._answers.values() if not one.done()):
            waiting.set_exception(reason)
        if over:
            self._over = self._over or reason
            self._news.set()
