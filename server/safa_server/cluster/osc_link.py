"""A front end's link to an engine for OSC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from safa_server.cluster.dialling import connected
from safa_server.cluster.osc_parcels import LARGEST_WAITING, PATH, Parcel
from safa_server.cluster.passes import pass_for
from safa_server.principal import OPERATOR

#: An engine that does not answer for so long is looked for elsewhere, seconds.
PING_SECONDS = 2.0


class Link:
    """A front end's link to an engine. over: whether it has ended. Iteration gives what the engine says until then."""

    def __init__(self, socket: ClientConnection) -> None:
        self.over = False
        self._socket = socket
        self._out: asyncio.Queue[bytes] = asyncio.Queue(LARGEST_WAITING)
        self._sending = asyncio.create_task(self._send_all(), name="osc link")

    @classmethod
    async def open(cls, url: str, secret: str, ipv6: bool, other_hosts: bool) -> Link:
        """Connect. url: of the engine's WebSocket; ipv6: the family of the front end's port; other_hosts: as in
        OscSettings. Raises FailureError."""
        place = f"{url.removesuffix('/ws')}{PATH}?ipv6={ipv6:d}&other_hosts={other_hosts:d}"
        return cls(await connected(place, pass_for(secret, OPERATOR), PING_SECONDS))

    def send(self, parcel: Parcel) -> bool:
        """Send without waiting; whether there was room."""
        try:
            self._out.put_nowait(parcel.wrapped())
        except asyncio.QueueFull:
            return False
        return True

    async def __aiter__(self) -> AsyncIterator[Parcel]:
        """Raises FailureError for what is no parcel."""
        try:
            async for message in self._socket:
                yield Parcel.read(message)
        except ConnectionClosed:
            pass
        finally:
            self.over = True
            self._sending.cancel()

    async def close(self) -> None:
        """Hang up."""
        self._sending.cancel()
        await self._socket.close()

    async def _send_all(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._socket.send(await self._out.get())
