"""What WebSocket clients share: every station's fan-out, and when sessions end that nobody closes."""

from __future__ import annotations

from typing import Any

from safa_server import control
from safa_server.fanout import Fanout
from safa_server.limits import Limits
from safa_server.listener import Listener
from safa_server.metrics import Registry
from safa_server.requests import OpenRequest
from safa_server.runner import AdmissionError
from safa_server.security import Security
from safa_server.station import Station
from safa_server.stations import Stations
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
        self._session_seconds = session_seconds
        self._fanouts: dict[str, Fanout] = {}
        self._own: set[str] = set()
        self._failed: set[str] = set()

    async def open(self, request: OpenRequest) -> Station:
        """A new session for a client; it is closed when nobody comes back to it. Raises SafaError."""
        try:
            station = await self.stations.open(request)
        except AdmissionError:
            self.metrics.add("safa_sessions_refused_total", reason="admission")
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

    def sweep(self) -> None:
        """Close sessions that are too old or that nobody came back to; let go of what belongs to closed ones."""
        now = self.stations.clock()
        if self._session_seconds is not None:
            self._end_old(now, self._session_seconds)
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

    def tell_all(self, reason: str) -> None:
        """Say to every client that the server is about to close its connection."""
        told = write(control.Closing(reason=reason))
        for fanout in self._fanouts.values():
            fanout.tell(told)

    def _end_old(self, now: float, most: float) -> None:
        for station in self.stations.all():
            if station is not self.stations.main and now - station.opened_at > most:
                self.end(station, f"its time is over: sessions last {most:g} s on this server")

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
