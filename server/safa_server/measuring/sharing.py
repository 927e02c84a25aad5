"""What many listeners of one session cost the server beside one: encoding and mixing once, and then only writing.

What listeners cost beyond writing is the server's CPU time less that of a plain server, which writes as many bytes as
often to as many sockets. Windows begin and end when a view was made, so that each holds whole views.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from safa_server.blocks import BLOCK
from safa_server.header import PLAIN, SIZES
from safa_server.measuring.account import Account
from safa_server.measuring.processes import cpu_seconds
from safa_server.measuring.servers import Report, Running, stop, within
from safa_server.measuring.sockets import BUFFER, TEXT, Socket, dial, framed, place
from safa_server.wire import write
from safa_stream.errors import FailureError
from safa_stream.session.messages import Command

#: A view is made at least so often.
VIEW_SECONDS = 120.0
#: New listeners get used to each other.
SETTLE_SECONDS = 1.0
BYTES_PER_SAMPLE = 8


@dataclass(frozen=True, slots=True)
class Window:
    """CPU seconds a second of a process and of its event loop, audio frames that all listeners got a second, and
    seconds of a layer's sound that were made a second, all layers together."""

    process: float
    loop: float
    frames: float
    made: float

    @property
    def layer(self) -> float:
        """CPU seconds of what is not the event loop, a second of a layer's sound."""
        return (self.process - self.loop) / self.made


@dataclass(frozen=True, slots=True)
class Sharing:
    """What one listener costs, what all cost, and what writing to all costs a plain server; missing: samples."""

    listeners: int
    one: Window
    all: Window
    writes: float
    missing: int
    duplicated: int

    @property
    def ratio(self) -> float:
        """CPU of the process with all listeners, writing left out, beside that with one."""
        return (self.all.process - self.writes) / self.one.process

    @property
    def loop_ratio(self) -> float:
        """The same of the event loop alone: sessions' sound is made elsewhere and costs the same for any number."""
        return (self.all.loop - self.writes) / self.one.loop


class Crowd:
    """Listeners of one session; the first one opened it."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._sockets: list[Socket] = []
        self.accounts: list[Account] = []
        self.session, self._rate = "", 1
        #: Seconds of layers' sound that were made since their first view, and up to where each layer's is made.
        self.made = 0.0
        self._ready: dict[int, int] = {}
        self._view = asyncio.Event()

    @property
    def frames(self) -> int:
        """Audio frames that all of them got."""
        return sum(account.frames for account in self.accounts)

    async def open(self, scene: dict[str, Any], format: str = "f32") -> None:
        """Begin the session, with its first listener."""
        first = await self._dial()
        first.say("open", scene=scene, format=format, id=1)
        opened = await _answer(first)
        self.session, self._rate = opened["session"], opened["session_rate"]
        first.on_text = self._heard

    async def join(self, format: str = "f32") -> None:
        """One more listener."""
        socket = await self._dial()
        socket.say("join", session=self.session, format=format, id=1)
        await _answer(socket)

    def say(self, command: Command) -> None:
        """A command, by who opened the session; nobody waits for an answer."""
        self._sockets[0].send(framed(TEXT, write(command).encode()))

    async def view(self) -> None:
        """Wait for the next view."""
        self._view.clear()
        await within(VIEW_SECONDS, "a view", self._view.wait())

    async def window(self, seconds: float) -> Window:
        """Measure from one view to the first that comes `seconds` later, or after that."""
        await self.view()
        clock = asyncio.get_running_loop().time
        began, before, frames, made = clock(), self._server.cpu(), self.frames, self.made
        while clock() - began < seconds:
            await self.view()
        after, lasted = self._server.cpu(), clock() - began
        return Window(
            (after[0] - before[0]) / lasted,
            (after[1] - before[1]) / lasted,
            (self.frames - frames) / lasted,
            (self.made - made) / lasted,
        )

    async def leave(self) -> None:
        """End the session."""
        if self._sockets:
            self._sockets[0].say("close")
            await self._sockets[0].gone(5.0)
        for socket in self._sockets:
            socket.abort()

    def _heard(self, message: dict[str, Any]) -> None:
        if message["type"] != "view":
            return
        ready = self._ready.get(message["layer"], message["ready"])
        self.made += (message["ready"] - ready) / self._rate
        self._ready[message["layer"]] = message["ready"]
        self._view.set()

    async def _dial(self) -> Socket:
        socket, account = await dial(self._server.host, self._server.port), Account()
        socket.on_audio = lambda payload: account.take(*place(payload))
        self._sockets.append(socket)
        self.accounts.append(account)
        return socket


async def sharing(server: Running, scene: dict[str, Any], listeners: int, seconds: float, report: Report) -> Sharing:
    """Measure with one listener, with all, and a plain server with as many."""
    crowd = Crowd(server)
    try:
        await crowd.open(scene)
        await crowd.view()
        one = await crowd.window(seconds)
        report(f"one listener: {one.process:.3f} CPU seconds a second, {one.loop:.3f} of them in the event loop")
        while len(crowd.accounts) < listeners:
            await crowd.join()
        await asyncio.sleep(SETTLE_SECONDS)
        every = await crowd.window(seconds)
        report(f"{listeners} listeners: {every.process:.3f}, {every.loop:.3f} of them in the event loop")
        missing = sum(account.missing for account in crowd.accounts)
        duplicated = sum(account.duplicated for account in crowd.accounts)
    finally:
        await crowd.leave()
    a_write = await writing(listeners, seconds)
    report(f"{listeners} plain sockets: {a_write * every.frames:.3f} for as many writes")
    return Sharing(listeners, one, every, a_write * every.frames, missing, duplicated)


async def writing(listeners: int, seconds: float) -> float:
    """CPU seconds that a plain server needs for one write of an audio frame's bytes to one of `listeners` sockets."""
    size = len(framed(2, bytes(SIZES[PLAIN] + BLOCK * BYTES_PER_SAMPLE), masked=False))
    async with helper("writer", str(size), str(BLOCK / 48_000)) as (pid, port):
        spent, got = await drained(pid, port, listeners, seconds)
    if not got:
        raise FailureError("the plain server wrote nothing: this machine is too busy to measure")
    return spent * size / got


async def drained(pid: int, port: int, listeners: int, seconds: float) -> tuple[float, int]:
    """CPU seconds of a process, and bytes that so many plain sockets get from its port meanwhile."""
    got, buffer, loop = 0, bytearray(BUFFER), asyncio.get_running_loop()

    class Sink(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> memoryview:
            return memoryview(buffer)

        def buffer_updated(self, nbytes: int) -> None:
            nonlocal got
            got += nbytes

    opened = [(await loop.create_connection(Sink, "127.0.0.1", port))[0] for _ in range(listeners)]
    await asyncio.sleep(SETTLE_SECONDS)
    before, had = cpu_seconds(pid), got
    await asyncio.sleep(seconds)
    spent = cpu_seconds(pid) - before, got - had
    for transport in opened:
        transport.abort()
    return spent


@asynccontextmanager
async def helper(module: str, *words: str) -> AsyncIterator[tuple[int, int]]:
    """(process id, port) of a process of this folder that writes to whoever connects."""
    command = ["-m", f"safa_server.measuring.{module}", *words]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = await within(VIEW_SECONDS, "a writing process's port", process.stdout.readline())
        if not line:
            raise FailureError(f"{module}, a process that only writes, did not start")
        yield process.pid, int(line)
    finally:
        await stop(process)


async def _answer(socket: Socket) -> dict[str, Any]:
    answer = await socket.until("opened", "error")
    if answer["type"] == "error":
        raise FailureError(f"the server refused a listener: {answer['reason']}")
    return answer
