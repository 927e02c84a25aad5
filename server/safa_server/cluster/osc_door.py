"""An engine's OSC, spoken through the ports of front ends."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from safa_server.cluster.osc_parcels import LARGEST_WAITING, PATH, Kind, Parcel
from safa_server.http import HttpRequest
from safa_server.osc import OscServer
from safa_server.osc_reception import OscSettings
from safa_server.osc_sockets import UdpPeer
from safa_server.principal import Access, Principal
from safa_server.stations import Seen, Stations
from safa_server.websocket import Route

#: Front ends have looked at the rates of their peers.
NO_RATE = 1e6


class OscDoors:
    """What an engine has for the OSC of front ends. OSC has no tenants: it reaches the operator's own sessions only."""

    def __init__(self, stations: Stations) -> None:
        self._stations = stations.seen_by(Principal(Access.LISTEN))
        self._there: set[Door] = set()
        self.route = Route(lambda path: path == PATH, self._serve)

    def moved(self, session: str) -> None:
        """A session goes on elsewhere: its subscriptions end here, and front ends are told."""
        for door in self._there:
            door.moved(session)

    async def _serve(self, link: ServerConnection, who: Principal) -> None:
        assert link.request is not None
        query = HttpRequest("GET", link.request.path).query
        door = Door(link, self._stations, query.get("ipv6") == "1", query.get("other_hosts") == "1")
        self._there.add(door)
        try:
            await door.run()
        finally:
            self._there.discard(door)


class Door:
    """One front end's link. It is the port from which the OSC server speaks to that front end's peers.

    ipv6: the family of the front end's port; other_hosts: as in OscSettings.
    """

    def __init__(self, link: ServerConnection, stations: Seen, ipv6: bool, other_hosts: bool) -> None:
        self.family, self.port = int(socket.AF_INET6 if ipv6 else socket.AF_INET), 0
        self._link, self._stations = link, stations
        self._out: asyncio.Queue[bytes] = asyncio.Queue(LARGEST_WAITING)
        self._session, self._quiet = "", False
        settings = OscSettings(other_hosts=other_hosts, packets_per_second=NO_RATE, packet_burst=NO_RATE)
        self._server = OscServer(stations, lambda: stations.find(self._session), settings)

    async def run(self) -> None:
        """Serve the front end until its link ends; then its peers' subscriptions end."""
        self._server.speak_through(self)
        sending = asyncio.create_task(self._send_all(), name="osc link")
        try:
            async for message in self._link:
                self._take(Parcel.read(message))
        finally:
            sending.cancel()
            await self._server.close()

    def moved(self, session: str) -> None:
        """A session goes on elsewhere."""
        self._server.subscribers.leave(session)
        if not self._put(Parcel(Kind.MOVED, session)):
            # This must not be lost; without the link the front end looks for all of its sessions anew.
            self._link.transport.abort()

    def send(self, packet: bytes, host: str, port: int) -> None:
        """A packet to a peer of the front end."""
        if not self._quiet:
            self._put(Parcel(Kind.PACKET, "", host, port, packet))

    def close(self) -> None:
        """The link is closed by whoever serves it."""

    def _take(self, parcel: Parcel) -> None:
        peer = UdpPeer(self, parcel.host, parcel.port)
        if parcel.kind is Kind.CAME_BACK:
            self._server.unreachable(peer.key)
        elif self._stations.find(parcel.session) is None:
            returned = replace(parcel, kind=Kind.RETURNED)
            self._put(returned if parcel.kind is Kind.PACKET else Parcel(Kind.MOVED, parcel.session))
        else:
            self._session, self._quiet = parcel.session, parcel.kind is Kind.QUIETLY
            try:
                self._server.received(parcel.packet, peer)
            finally:
                self._quiet = False

    def _put(self, parcel: Parcel) -> bool:
        try:
            self._out.put_nowait(parcel.wrapped())
        except asyncio.QueueFull:
            return False
        return True

    async def _send_all(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._link.send(await self._out.get())
