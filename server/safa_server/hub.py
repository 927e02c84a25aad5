"""What WebSocket clients share: every station's fan-out, and when sessions end that nobody closes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from safa_server import control
from safa_server.fanout import Fanout
from safa_server.guests import Guests
from safa_server.limits import Limits
from safa_server.listener import Listener
from safa_server.metrics import Registry
from safa_server.requests import OpenRequest
from safa_server.runner import AdmissionError
from safa_server.security import Security
from safa_server.station import Station
from safa_server.stations import Stations
from safa_server.tenants.quotas import QuotaError, Usage, check_listener
from safa_server.wire import write

#: The hub looks after sessions that nobody hears so often.
SWEEP_SECONDS = 0.5


class Hub:
    """Made once a server. Lives on the event loop; `sweep` is to be called every SWEEP_SECONDS.

    session_seconds: how old sessions may get, those of other doors too; the server's own gets as old as it likes.
    """

    def __init__(
        self,
        stations: Stations,
        security: Security,
        limits: Limits,
        metrics: Registry,
        session_seconds: float | None = None,
    ) -> None:
        self.stations, self.security, self.limits, self.metrics = stations, security, limits, metrics
        self.guests = Guests(security, metrics)
        self._session_seconds = session_seconds
        self._fanouts: dict[str, Fanout] = {}
        self._own: set[str] = set()
        self._failed: set[str] = set()
        self._counted: set[str] = set()

    async def open(self, request: OpenRequest) -> Station:
        """A new session for a client; it is closed when nobody comes back to it. Raises SafaError."""
        try:
            station = await self.stations.open(request)
        except (AdmissionError, QuotaError) as error:
            reason = "quota" if isinstance(error, QuotaError) else error.cause
            self.metrics.add("safa_sessions_refused_total", reason=reason)
            raise
        self.metrics.add("safa_sessions_opened_total")
        self._own.add(station.id)
        return station

    def adopt(self, station: Station) -> None:
        """Treat a session as opened by a client: one that was restored is closed if nobody comes back to it."""
        self._own.add(station.id)
        self.fanout(station)

    def fanout(self, station: Station) -> Fanout:
        """A station's fan-out, made when it is first asked for."""
        if station.id not in self._fanouts:
            self._fanouts[station.id] = Fanout(station, self.limits, self.metrics)
        return self._fanouts[station.id]

    def check_listener(self, station: Station) -> None:
        """Raises QuotaError where the session's tenant has as many listeners as it may have."""
        tenants, tenant = self.stations.tenants, station.tenant
        if tenants is not None and tenant is not None:
            fanouts = (one for one in self._fanouts.values() if one.station.tenant == tenant)
            here = Usage(listeners=sum(len(fanout.listeners) for fanout in fanouts))
            check_listener(tenant, tenants.quotas(tenant), here + tenants.elsewhere(tenant))

    def leave(self, station: Station, listener: Listener) -> None:
        """A listener is gone; the session waits for it a while."""
        fanout = self._fanouts.get(station.id)
        if fanout is not None and listener in fanout.listeners:
            fanout.detach(listener)

    def end(self, station: Station, reason: str) -> None:
        """Close a session and everybody's connection to it."""
        station.close()
        self._forget(station.id, reason)

    def move(self, station: Station, reason: str, code: int) -> None:
        """Close everybody's connection to a session that goes on elsewhere."""
        self._forget(station.id, reason, code)

    def listeners(self, station: Station) -> list[dict[str, Any]]:
        """Who listens to a session, as JSON."""
        fanout = self._fanouts.get(station.id)
        return [] if fanout is None else [listener.describe() for listener in fanout.listeners]

    def listening(self, station: Station) -> int:
        """How many listen to a session."""
        fanout = self._fanouts.get(station.id)
        return 0 if fanout is None else len(fanout.listeners)

    def sweep(self) -> None:
        """Close sessions that are too old or that nobody came back to; let go of what belongs to closed ones; cut who
        may not be here any more."""
        now = self.stations.clock()
        self.guests.sweep()
        self._end_old(now)
        for station_id, fanout in list(self._fanouts.items()):
            station = fanout.station
            if self.stations.find(station_id) is None:
                self._forget(station_id, "the session has ended")
                continue
            if station.failure is not None and station_id not in self._failed:
                self._failed.add(station_id)
                reason = f"the session cannot go on: {station.failure}"
                fanout.tell(write(control.Error(code="failed", reason=reason)))
            fanout.sweep(now)
            waited = now - fanout.empty_since
            if station_id in self._own and not fanout.listeners and waited > self.limits.resume_seconds:
                self.end(station, "nobody came back to it")
        self.metrics.set("safa_sessions", len(self.stations.all()))
        behind = [listener.behind for fanout in self._fanouts.values() for listener in fanout.listeners]
        self.metrics.set("safa_frames_waiting", sum(behind))
        self.metrics.set("safa_listeners_behind", sum(frames > 0 for frames in behind))
        self._count_tenants()

    def _count_tenants(self) -> None:
        counted = Counter(station.tenant for station in self.stations.all() if station.tenant is not None)
        for tenant in self._counted - set(counted):
            self.metrics.forget("safa_tenant_sessions", tenant=tenant)
        for tenant, sessions in counted.items():
            self.metrics.set("safa_tenant_sessions", sessions, tenant=tenant)
        self._counted = set(counted)

    def tell_all(self, reason: str) -> None:
        """Say to every client that the server is about to close its connection."""
        told = write(control.Closing(reason=reason))
        for fanout in self._fanouts.values():
            fanout.tell(told)

    def _end_old(self, now: float) -> None:
        for station in self.stations.all():
            most = self._oldest(station)
            if station is not self.stations.main and now - station.opened_at > most:
                self.end(station, f"its time is over: sessions last {most:g} s on this server")

    def _oldest(self, station: Station) -> float:
        """How old a session may get, seconds."""
        server = math.inf if self._session_seconds is None else self._session_seconds
        tenants, tenant = self.stations.tenants, station.tenant
        return server if tenants is None or tenant is None else min(server, tenants.quotas(tenant).session_seconds)

    def _forget(self, station_id: str, reason: str, code: int = 1000) -> None:
        fanout = self._fanouts.pop(station_id, None)
        self._own.discard(station_id)
        self._failed.discard(station_id)
        if fanout is None:
            return
        for listener in fanout.listeners:
            fanout.detach(listener)
            listener.outlet.cut(reason, code)
        fanout.close()
