"""A plain asyncio server that writes the same bytes to everybody at a steady pace: what sending alone costs.

python -m safa_server.measuring.writer BYTES SECONDS: prints its port, then writes BYTES every SECONDS to all who are
connected, until its standard input ends. Nothing is made, encoded or framed.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import transports


class Everybody(asyncio.Protocol):
    """One connection among `connected`."""

    def __init__(self, connected: set[transports.Transport]) -> None:
        self._connected = connected
        self._own: transports.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, transports.Transport)
        self._own = transport
        self._connected.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        if self._own is not None:
            self._connected.discard(self._own)


async def serve(size: int, pace: float) -> None:
    """Write until standard input ends."""
    loop, connected, data = asyncio.get_running_loop(), set[transports.Transport](), bytes(size)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    server = await loop.create_server(lambda: Everybody(connected), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    due = loop.time()
    while not ended.is_set():
        for transport in tuple(connected):
            transport.write(data)
        # A pace that was lost is not made up for.
        due = max(due + pace, loop.time())
        await asyncio.sleep(due - loop.time())
    loop.remove_reader(sys.stdin.fileno())
    server.close()
    for transport in tuple(connected):
        transport.abort()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
