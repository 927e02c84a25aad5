"""All sessions of a server: opened, found again, restored from disk, ended."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from safa_server.blocks import Resumed
from safa_server.principal import Principal
from safa_server.requests import DEFAULT_LEAD, OpenRequest
from safa_server.runner import AdmissionError, Runner
from safa_server.secret import Secret
from safa_server.station import Station
from safa_server.storage import LONGEST_UNWRITTEN, Kept, Storage
from safa_server.tenants.quotas import Allowances, Turnstile, Usage, check_layers
from safa_stream.errors import SafaError
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session


def _scene(request: OpenRequest) -> LiveScene:
    """What is asked for, with as many channels as somebody wants to hear where the scene does not say."""
    scene, wanted = LiveScene.from_value(request.scene), request.channels or 0
    says = isinstance(request.scene, Mapping) and "channels" in request.scene
    return scene if says or wanted <= scene.channels else replace(scene, channels=wanted)


def _heard(session: Session, waits: bool) -> int:
    """Up to which sample a session may have been heard that its journal has brought back. waits: for its sound, and so
    for no longer than that was ready; others are heard on."""
    unwritten = round(LONGEST_UNWRITTEN * session.rate) if session.begun else 0
    return session.position + (min(session.ready(), unwritten) if waits else unwritten)


class Stations:
    """All sessions of a server. tenants: whose quotas hold; a session's tenant is that of its request."""

    def __init__(
        self,
        runner: Runner,
        largest: int = 64,
        storage: Storage | None = None,
        tenants: Allowances | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner, self.largest, self.storage, self.clock = runner, largest, storage, clock
        self.tenants, self._turnstile = tenants, Turnstile()
        if storage is not None:
            runner.after_view = storage.after_view
        self._stations: dict[str, Station] = {}
        #: The session that the server itself began with, if any.
        self.main: Station | None = None
        self.draining = False

    async def open(self, request: OpenRequest) -> Station:
        """A new session. Raises AdmissionError where it could not be kept fed, QuotaError where its tenant has as much
        as it may have, UsageError for a bad scene."""
        if self.draining:
            raise AdmissionError("the server is shutting down", retry_after=30.0, cause="draining")
        if len(self.all()) >= self.largest:
            raise AdmissionError(f"the server has {self.largest} sessions already", retry_after=10.0, cause="sessions")
        scene = _scene(request)
        if self.tenants is not None and request.tenant is not None:
            quotas, usage = self.tenants.quotas(request.tenant), self.usage(request.tenant)
            self._turnstile.check_open(request.tenant, quotas, usage, len(scene.layers), time.monotonic())
        live = self.runner.open(scene, request.lead_seconds or DEFAULT_LEAD, request.pacing != "pull")
        session_id, secret, journal = secrets.token_urlsafe(9), Secret.new(), None
        try:
            if self.storage is not None:
                journal = self.storage.begin(live, session_id, secret, request)
        except SafaError:
            self.runner.close(live)
            raise
        return self._add(
            Station(self.runner, live, request, session_id, secret, self.storage, journal, clock=self.clock)
        )

    def restore(self) -> list[Station]:
        """The sessions that the storage holds, on the air again."""
        return [] if self.storage is None else [self.adopt(kept) for kept in self.storage.kept()]

    def adopt(self, kept: Kept, due: int | None = None) -> Station:
        """A session that was kept, on the air again. due: the sample that ought to leave about now."""
        assert self.storage is not None, "what is kept has a storage"
        request, session = kept.request, kept.blocks.session
        waits = request.pacing == "pull"
        live = self.runner.adopt(session, request.lead_seconds or DEFAULT_LEAD, not waits, _heard(session, waits))
        self.storage.watch(live, kept)
        resumed = Resumed(kept.blocks, kept.past, kept.playing, due, kept.once)
        return self._add(
            Station(
                self.runner,
                live,
                request,
                kept.session_id,
                kept.secret,
                self.storage,
                kept.journal,
                resumed,
                self.clock,
            )
        )

    def _add(self, station: Station) -> Station:
        self._stations[station.id] = station
        if self.tenants is not None and station.tenant is not None:
            station.allow = partial(self._allow, self.tenants, station.tenant)
        return station

    def _allow(self, tenants: Allowances, tenant: str, more: int) -> None:
        check_layers(tenant, tenants.quotas(tenant), self.usage(tenant), more)

    def usage(self, tenant: str) -> Usage:
        """What a tenant has now, listeners that are here aside."""
        own = [station for station in self.all() if station.tenant == tenant]
        here = Usage(len(own), sum(station.layers for station in own))
        return here if self.tenants is None else here + self.tenants.elsewhere(tenant)

    def seen_by(self, principal: Principal) -> Seen:
        """The sessions that somebody may know of."""
        return Seen(self, principal)

    def find(self, session_id: str) -> Station | None:
        """A session by its id."""
        station = self._stations.get(session_id)
        return None if station is None or station.closed else station

    def all(self) -> list[Station]:
        """Sessions that are on the air."""
        self._stations = {key: station for key, station in self._stations.items() if not station.closed}
        return list(self._stations.values())

    async def drain(self) -> None:
        """Take no new sessions and end those that there are; those on disk can be restored."""
        self.draining = True
        for station in self.all():
            station.close(stays=True)


@dataclass(frozen=True, slots=True)
class Seen:
    """The sessions of a server as somebody sees them: one that is not theirs is one that never was."""

    stations: Stations
    principal: Principal

    def find(self, session_id: str) -> Station | None:
        """A session by its id."""
        station = self.stations.find(session_id)
        return station if station is not None and self.principal.sees(station.tenant) else None

    def all(self) -> list[Station]:
        """Sessions that are on the air."""
        return [station for station in self.stations.all() if self.principal.sees(station.tenant)]
