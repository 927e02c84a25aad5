"""A WebSocket client that costs next to nothing and can misbehave: what listeners by the hundred and attackers are.

It reads frames as they come and hands their payloads on. Whatever is to be sent is sent as it is, well-formed or not.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from asyncio import transports
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from safa_stream.errors import FailureError

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
#: Texts that wait to be looked at; the oldest goes.
MOST_TEXTS = 200
CONNECT_SECONDS = 60.0
#: What is read at once, and the longest answer to a handshake. asyncio's own buffer costs more than the frames in it.
BUFFER, LARGEST_HEAD = 32 * 1024, 16 * 1024

#: sequence, start and frames of an audio frame's header, with what lies between left out.
_PLACE = struct.Struct("<12xI Qq 16x")


def place(payload: memoryview) -> tuple[int, int, int]:
    """(sequence, start, samples) of a binary message with an audio frame."""
    frames, sequence, start = _PLACE.unpack_from(payload)
    return sequence, start, frames


def framed(opcode: int, payload: bytes, masked: bool = True, final: bool = True) -> bytes:
    """A WebSocket frame, with a mask of zeros."""
    size, mask = len(payload), 128 if masked else 0
    head = bytes([opcode | (128 if final else 0)])
    if size < 126:
        head += bytes([mask | size])
    else:
        head += bytes([mask | 126]) + struct.pack(">H", size) if size < 2**16 else b""
        head += bytes([mask | 127]) + struct.pack(">Q", size) if size >= 2**16 else b""
    return head + (bytes(4) if masked else b"") + payload


class Socket(asyncio.BufferedProtocol):
    """One connection; make it with `dial`.

    on_audio is called with every binary payload, which is overwritten afterwards; on_text with every text. texts: the
    latest ones, where on_text is None; closed: set once the connection is gone.
    """

    def __init__(self) -> None:
        self.on_audio: Callable[[memoryview], None] = lambda payload: None
        self.on_text: Callable[[dict[str, Any]], None] | None = None
        self.texts: deque[dict[str, Any]] = deque(maxlen=MOST_TEXTS)
        self.closed = asyncio.Event()
        self._upgraded: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._transport: transports.Transport | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._view, self._filled = memoryview(bytearray(BUFFER)), 0

    async def upgrade(self, host: str, port: int, path: str) -> None:
        """Become a WebSocket. Raises FailureError where that is refused."""
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: safa.v1\r\n\r\n".encode()
        )
        status = await self._upgraded
        if " 101 " not in status:
            raise FailureError(f"no WebSocket at {host}:{port}: {status}")

    # What is said --------------------------------------------------------------------------------------------------

    def say(self, type: str, **fields: Any) -> None:
        """Send a message of the protocol."""
        self.send(framed(TEXT, json.dumps({"type": type, **fields}).encode()))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until what was sent is on its way, or the connection is gone."""
        await self._writable.wait()

    def stall(self) -> None:
        """Read nothing until `resume`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def gone(self, seconds: float) -> bool:
        """Wait until the connection is gone, so long at most; whether it is."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closed.wait(), seconds)
        return self.closed.is_set()

    # What is heard -------------------------------------------------------------------------------------------------

    async def until(self, *types: str, seconds: float = CONNECT_SECONDS) -> dict[str, Any]:
        """The next text of one of these types; earlier ones are dropped. Raises FailureError where none comes."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while self.texts:
                        found = self.texts.popleft()
                        if found.get("type") in types:
                            return found
                    if self.closed.is_set():
                        raise FailureError("the server closed the connection")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise FailureError(f"the server sent no {' or '.join(types)} within {seconds:g} s") from None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, transports.Transport)
        self._transport = transport

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        if not self._upgraded.done():
            self._upgraded.set_result("the connection was closed")
        self.closed.set()
        self._news.set()
        self._writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by the event loop: where to put what comes."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the event loop."""
        self._filled += nbytes
        at = 0
        if not self._upgraded.done():
            head, found, _ = bytes(self._view[: self._filled]).partition(b"\r\n\r\n")
            if not found:
                return self._keep(0, LARGEST_HEAD)
            self._upgraded.set_result(head.partition(b"\r\n")[0].decode("latin-1"))
            at = len(head) + len(found)
        while self._filled >= at + 2:
            first, size = at + 2, self._view[at + 1] & 127
            if size >= 126:
                first += 2 if size == 126 else 8
                if self._filled < first:
                    break
                size = int.from_bytes(self._view[at + 2 : first], "big")
            if self._filled < first + size:
                return self._keep(at, first + size - at)
            self._take(self._view[at] & 15, self._view[first : first + size])
            at = first + size
        self._keep(at, 0)

    def _keep(self, at: int, wanted: int) -> None:
        """Move what is not used up to the buffer's beginning; make room for `wanted` bytes."""
        left = self._filled - at
        if wanted > len(self._view):
            self._view, old = memoryview(bytearray(wanted)), self._view
            self._view[:left] = old[at : self._filled]
        elif at and left:
            self._view[:left] = bytes(self._view[at : self._filled])
        self._filled = left

    def _take(self, opcode: int, payload: memoryview) -> None:
        if opcode == BINARY:
            self.on_audio(payload)
        elif opcode == TEXT:
            found = json.loads(bytes(payload))
            if self.on_text is not None:
                self.on_text(found)
            else:
                self.texts.append(found)
                self._news.set()
        elif opcode == PING:
            self.send(framed(PONG, bytes(payload)))
        elif opcode == CLOSE:
            self.send(framed(CLOSE, bytes(payload[:2])))


async def dial(host: str, port: int, upgrade: bool = True, path: str = "/ws") -> Socket:
    """Connect, and become a WebSocket where `upgrade`. Raises FailureError where that is refused."""
    socket: Socket | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, socket = await asyncio.get_running_loop().create_connection(Socket, host, port)
            if upgrade:
                await socket.upgrade(host, port, path)
    except BaseException as error:
        if socket is not None:
            socket.abort()
        if isinstance(error, OSError | TimeoutError):
            raise FailureError(f"cannot connect to {host}:{port}: {error or 'no answer in time'}") from None
        raise
    return socket
