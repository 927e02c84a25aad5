"""The two sides of one WebSocket: what is sent waits within bounds, and who says too much waits for its turn."""

from __future__ import annotations

import asyncio
import time

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.protocol import State

from safa_server import control
from safa_server.wire import write


class SocketOutlet:
    """A WebSocket as the fan-out sees it: what is sent is in the system's hands, or waits here within bounds."""

    def __init__(self, socket: ServerConnection, write_bytes: int) -> None:
        self._socket = socket
        self._write_bytes = write_bytes
        self._closing: asyncio.Task[None] | None = None

    def has_room(self) -> bool:
        """Has the system taken nearly all that was sent so far? Never so for a connection that is closed."""
        transport = self._socket.transport
        return not transport.is_closing() and transport.get_write_buffer_size() < self._write_bytes

    def send(self, message: str) -> None:
        """Send without waiting; nothing happens where the connection is closing."""
        broadcast([self._socket], message)

    def send_packet(self, packet: bytes) -> None:
        """Write a WebSocket message as it is; nothing happens where the connection is closing."""
        # The library would frame and copy every frame for every listener. Nothing here sends fragments or compresses,
        # and the library hands what it writes to the transport at once, so whole messages keep their order.
        if self._socket.state is State.OPEN:
            self._socket.transport.write(packet)

    def cut(self, reason: str, code: int = 1013) -> None:
        """Say why, and close."""
        if self._closing is None:
            self.send(write(control.Closing(reason=reason)))
            self._closing = asyncio.get_running_loop().create_task(self._socket.close(code, reason[:120]))


class Pace:
    """So many messages a second, and twice as many in a burst; who sends more waits. Its client notices by itself."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = 2 * per_second
        self._at = time.monotonic()

    async def wait(self) -> bool:
        """Wait for the turn of one message; true where it had to wait."""
        now = time.monotonic()
        self._left = min(2 * self._per_second, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        if self._left >= 0:
            return False
        await asyncio.sleep(-self._left / self._per_second)
        return True

    def give_back(self, share: float) -> None:
        """A message counts less by this share of one."""
        self._left += share
