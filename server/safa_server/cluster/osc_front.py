"""A front end's OSC port: packets go to the engine that has their session, and what it says comes back from here.

    packet ─► rates, token ─► lane of the session ─► link to its engine ─► answers and subscriptions ─► peer

While a session changes hands its packets are held, for a while. What its subscribers have asked for is said once more
wherever it goes on. Nothing else is kept here, and all that is has a bound.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Coroutine, Hashable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from safa_server.cluster.front import Overseer
from safa_server.cluster.osc_lanes import Lane, Renewal, Said
from safa_server.cluster.osc_link import Link
from safa_server.cluster.osc_parcels import Kind, Parcel
from safa_server.osc_map import SUBSCRIPTION_SECONDS
from safa_server.osc_packet import Message, read_packet
from safa_server.osc_peers import same_host
from safa_server.osc_read import service_of, session_of, shown
from safa_server.osc_reception import OscReception, OscSettings
from safa_server.osc_sockets import UdpPeer
from safa_server.osc_subscribers import MOST_REFUSALS, Destination
from safa_stream.errors import FailureError, UsageError

log = logging.getLogger("safa_server.cluster.osc")

#: A message waits so long for a session that changes hands, and a subscription for its return, seconds.
HELD_SECONDS, RETURN_SECONDS = 5.0, 30.0
#: Messages that wait for one session, and sessions that are known at a time; one that is idle so long is forgotten.
MOST_HELD, MOST_LANES, IDLE_SECONDS = 256, 256, 60.0
#: How long the head is asked at a time for a session that changes hands, and between two such questions, seconds.
ASK_SECONDS, RETRY = 1.0, 0.1
#: No session's name is so long.
LONGEST_NAME = 64
_SUBSCRIBE = {"subscribe": False, "audio/subscribe": True, "audio/ring": True}
_UNSUBSCRIBE = {"unsubscribe": False, "audio/unsubscribe": True}


class Guide(Overseer, Protocol):
    """A head, as OSC ports ask it."""

    async def oldest(self) -> str | None: ...


class OscFront(OscReception):
    """See the module. head: who knows where sessions are; secret: the cluster's."""

    def __init__(self, head: Guide, secret: str, settings: OscSettings) -> None:
        super().__init__(settings)
        self._head, self._secret = head, secret
        self._lanes: dict[str | None, Lane] = {}
        self._links: dict[str, asyncio.Task[Link]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close the port and the links."""
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for connecting in self._links.values():
            if not connecting.done():
                connecting.cancel()
            elif connecting.exception() is None:
                await connecting.result().close()
        await super().close()

    # What OscReception asks ----------------------------------------------------------------------------------------

    def carry_out(self, message: Message, peer: Destination, now: float) -> None:
        """Hand a message to its session's engine, or hold it until that is known."""
        lane = self._lane(session_of(message.address, message.arguments), now)
        said = Said(message, peer, now)
        self._note(lane, said)
        if lane.link is not None and not lane.link.over:
            if not lane.link.send(lane.parcel(said)):
                raise UsageError("too many messages are on their way to the session's engine; no more can be")
            return
        if len(lane.held) >= MOST_HELD:
            raise UsageError(f"{MOST_HELD} messages wait for the session; no more can")
        lane.held.append(said)
        self._seek(lane)

    def listeners(self, host: str) -> Sequence[Destination]:
        """Subscribers on a host."""
        every = [one for lane in self._lanes.values() for one in lane.renewals.values()]
        return [one.where for one in every if not one.audio and same_host(one.where.host, host)]

    def unreachable(self, key: Hashable) -> None:
        """Engines are told; a subscriber that is gone is not subscribed anew."""
        for lane in self._lanes.values():
            for name, one in list(lane.renewals.items()):
                if one.where.key == key:
                    one.refusals += 1
                    if lane.link is not None and isinstance(one.where, UdpPeer):
                        lane.link.send(Parcel(Kind.CAME_BACK, lane.session, one.where.host, one.where.port))
                    if one.refusals >= MOST_REFUSALS:
                        del lane.renewals[name]

    def gone(self, key: Hashable) -> None:
        """There are no connections here, only packets."""

    def sweep(self, now: float) -> None:
        """Forget subscriptions that were not renewed, and sessions of which nobody speaks; ask where the others are."""
        for key, lane in list(self._lanes.items()):
            lane.renewals = {name: one for name, one in lane.renewals.items() if one.until > now}
            if lane.idle and now - lane.used > IDLE_SECONDS:
                del self._lanes[key]
            elif lane.link is not None:
                self._spawn(self._verify(lane))
        lost = [url for url, one in self._links.items() if one.done() and (one.exception() or one.result().over)]
        for url in lost:
            del self._links[url]

    # Lanes ---------------------------------------------------------------------------------------------------------

    def _lane(self, key: str | None, now: float) -> Lane:
        if key is not None and len(key) > LONGEST_NAME:
            raise UsageError(_unknown(key))
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= MOST_LANES:
                idle = [one for one in self._lanes.values() if one.idle]
                if not idle:
                    raise UsageError(f"{MOST_LANES} sessions are spoken to; no more can be")
                del self._lanes[min(idle, key=lambda one: one.used).key]
            lane = self._lanes[key] = Lane(key, key or "", now)
        lane.used = now
        return lane

    def _note(self, lane: Lane, said: Said) -> None:
        """Keep what is subscribed to. Raises UsageError where that cannot be."""
        name, arguments = service_of(said.message.address), said.message.arguments
        if name in _SUBSCRIBE:
            where, audio = self.destination(arguments, said.peer), _SUBSCRIBE[name]
            count = sum(len(one.renewals) for one in self._lanes.values())
            if (where.key, audio) not in lane.renewals and count >= 2 * self.settings.subscribers:
                raise UsageError(f"there are {count} subscriptions; no more can be told")
            until = said.at + SUBSCRIPTION_SECONDS
            lane.renewals[where.key, audio] = Renewal(said, where, until, audio)
        elif name in _UNSUBSCRIBE:
            lane.renewals.pop((self.destination(arguments, said.peer).key, _UNSUBSCRIBE[name]), None)

    def _seek(self, lane: Lane) -> None:
        if lane.seeking is None or lane.seeking.done():
            lane.seeking = self._spawn(self._find(lane))

    async def _find(self, lane: Lane) -> None:
        """Look for a lane's session until its engine is linked, or nothing waits for it any more."""
        began = time.monotonic()
        while lane.link is None or lane.link.over:
            try:
                lane.link = await self._locate(lane)
            except FailureError as error:
                log.info("OSC: session %s is not reached yet: %s", lane.session or "(default)", error)
                lane.link = None
            except UsageError as error:
                return self._give_up(lane, error)
            if lane.link is None:
                now = time.monotonic()
                self._refuse_late(lane, now - HELD_SECONDS)
                if lane.idle or (not lane.held and not lane.back and now - began > RETURN_SECONDS):
                    return self._give_up(lane, UsageError(_unknown(lane.key)))
                await asyncio.sleep(RETRY)
        waiting = [*lane.back, *lane.held]
        lane.back.clear()
        lane.held.clear()
        for one in lane.renewals.values():
            if one.said not in waiting:
                lane.link.send(lane.parcel(one.said, Kind.QUIETLY))
        for said in waiting:
            lane.link.send(lane.parcel(said))

    async def _locate(self, lane: Lane) -> Link | None:
        """The link to the engine that has a lane's session, None while it changes hands.

        Raises UsageError where there is no such session, FailureError where head or engine cannot be asked.
        """
        lane.session = lane.session or await self._oldest()
        known = lane.route
        if known is None:
            route = await self._head.where(lane.session, ASK_SECONDS)
        else:
            route = await self._head.broken(lane.session, known.engine, known.epoch, ASK_SECONDS)
        if route is not None and not (lane.denied and route == known):
            lane.route, lane.denied = route, False
            return await self._linked(route.url)
        if route is None and lane.session in (await self._head.status())["sessions"]:
            return None
        if lane.key is not None:
            raise UsageError(_unknown(lane.key))
        # The default session has ended: from now on it is another one, to which nobody has subscribed.
        ended, lane.route, lane.denied = lane.session, None, False
        lane.renewals.clear()
        lane.session = await self._oldest()
        if lane.session == ended:
            raise UsageError(_unknown(None))
        return None

    async def _oldest(self) -> str:
        found = await self._head.oldest()
        if found is None:
            raise UsageError(_unknown(None))
        return found

    def _give_up(self, lane: Lane, error: UsageError) -> None:
        """Forget a lane: whoever speaks to its session next has it looked for anew."""
        if self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]
        for said in (*lane.back, *lane.held):
            self._refuse(said.peer, said.message.address, error, len(said.message.raw))

    def _refuse_late(self, lane: Lane, before: float) -> None:
        for waiting in (lane.back, lane.held):
            while waiting and waiting[0].at < before:
                said = waiting.popleft()
                error = UsageError(f"{_unknown(lane.key)}: it changes hands, and {HELD_SECONDS:g} s were too short")
                self._refuse(said.peer, said.message.address, error, len(said.message.raw))

    async def _verify(self, lane: Lane) -> None:
        """Leave an engine that was given up and does not know it, and forget a session that has ended."""
        with suppress(FailureError):
            route, known = await self._head.where(lane.session), lane.route
            if route is not None and known is not None and route.epoch > known.epoch and lane.link is not None:
                self._unlink(lane)
            elif route is None and lane.session not in (await self._head.status())["sessions"]:
                # Its subscribers were told by its engine.
                lane.renewals.clear()
                if lane.idle and self._lanes.get(lane.key) is lane:
                    del self._lanes[lane.key]

    # Links ---------------------------------------------------------------------------------------------------------

    async def _linked(self, url: str) -> Link:
        """The link to an engine. Raises FailureError."""
        task = self._links.get(url)
        if task is None or (task.done() and (task.exception() is not None or task.result().over)):
            task = self._links[url] = asyncio.create_task(self._connect(url), name="osc link")
        link = await asyncio.shield(task)
        if link.over:
            raise FailureError(f"the link to {url} broke")
        return link

    async def _connect(self, url: str) -> Link:
        assert self._udp is not None
        ipv6 = self._udp.family == socket.AF_INET6
        link = await Link.open(url, self._secret, ipv6, self.settings.other_hosts)
        self._spawn(self._serve(link))
        return link

    async def _serve(self, link: Link) -> None:
        """Take what an engine says, until it says no more; then what was its is looked for elsewhere."""
        try:
            async for parcel in link:
                self._take(link, parcel)
        except FailureError as error:
            log.warning("%s", error)
            await link.close()
        for lane in list(self._lanes.values()):
            if lane.link is link:
                self._unlink(lane)

    def _take(self, link: Link, parcel: Parcel) -> None:
        if parcel.kind is Kind.PACKET:
            assert self._udp is not None
            self._udp.send(parcel.packet, parcel.host, parcel.port)
        elif parcel.kind is Kind.MOVED:
            for lane in list(self._lanes.values()):
                if lane.session == parcel.session and lane.link is link:
                    lane.denied = True
                    self._unlink(lane)
        elif parcel.kind is Kind.RETURNED:
            assert self._udp is not None
            peer = UdpPeer(self._udp, parcel.host, parcel.port)
            for message in read_packet(parcel.packet):
                self._take_back(link, Said(message, peer, time.monotonic()))

    def _unlink(self, lane: Lane) -> None:
        lane.link = None
        if not lane.idle:
            self._seek(lane)

    def _take_back(self, link: Link, said: Said) -> None:
        """A message was too late for a session that has left, or ended: it is before those that are held."""
        try:
            lane = self._lane(session_of(said.message.address, said.message.arguments), said.at)
            if len(lane.back) >= MOST_HELD:
                raise UsageError(f"{MOST_HELD} messages wait for the session; no more can")
        except UsageError as error:
            return self._refuse(said.peer, said.message.address, error, len(said.message.raw))
        lane.back.append(said)
        if lane.link is link:
            lane.link, lane.denied = None, True
        self._seek(lane)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _unknown(key: str | None) -> str:
    return "there is no session yet" if key is None else f"there is no session {shown(key)}"
