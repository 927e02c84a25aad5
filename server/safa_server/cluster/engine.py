"""An engine of a cluster: sessions, the thread that makes their sound, and the port that front ends connect to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.server import ServerConnection

from safa_server.cluster.allowances import ToldAllowances
from safa_server.cluster.claims import FIRST, claim, epochs, forget_before, place_of
from safa_server.cluster.directory import EngineFacts, SessionFacts
from safa_server.cluster.osc_door import OscDoors
from safa_server.cluster.passes import EngineSecurity, quotas_in
from safa_server.cluster.storage import ClaimedStorage
from safa_server.cluster.vault import Saved, lines_of, saved_of, write_files
from safa_server.connection import Connection
from safa_server.disk import Disk
from safa_server.http import Http
from safa_server.hub import Hub
from safa_server.limits import Limits
from safa_server.metrics import Registry
from safa_server.observe import observe
from safa_server.principal import Principal
from safa_server.runner import Runner
from safa_server.schema import document
from safa_server.security import token_in
from safa_server.serve import page_folder
from safa_server.station import Station
from safa_server.stations import Stations
from safa_server.telemetry.observer import NOBODY, Observer
from safa_server.telemetry.tracing import TraceSettings, Tracing
from safa_server.tenants.quotas import Usage
from safa_server.websocket import Front
from safa_stream.errors import OutputError, SnapshotError
from safa_stream.models import load
from safa_stream.models.interface import Model

log = logging.getLogger("safa_server.cluster.engine")

#: A session that moves tells its front ends so: they come back to it where it is then.
MOVED = 1012
#: Lines of journals are kept beside the disk so often, seconds.
JOURNAL_SECONDS = 0.25
#: How soon files of earlier epochs are removed, seconds after a session came.
SETTLED = 60.0
#: An engine looks so often whether somebody else has claimed what it has, seconds.
LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is told to be. secret: the cluster's; folder: where all engines keep sessions; layers: rows
    in real time at most, None for what this machine is measured to keep fed."""

    name: str
    host: str
    secret: str
    folder: Path
    model: str = "builtin"
    backend: str = "auto"
    sessions: int = 64
    layers: int | None = None
    session_seconds: float | None = None
    limits: Limits = Limits()
    trace: TraceSettings | None = None


class Engine:
    """See the module. Lives on one event loop.

    keep: is given what has to be kept beside the disk, on any thread; fetch: what was kept of a session so; loading:
    gives the model of a name on a backend; clock: in seconds, as time.monotonic.
    """

    def __init__(
        self,
        settings: EngineSettings,
        keep: Callable[[Saved], None] = lambda saved: None,
        fetch: Callable[[str], Awaitable[Saved | None]] | None = None,
        loading: Callable[[str, str], Model] = load,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._keep, self._fetch, self._loading = keep, fetch, loading
        self._disk, self._clock = disk, clock
        self._told: dict[str, int] = {}
        self._allowances = ToldAllowances()
        self._stack = AsyncExitStack()
        self._epochs: dict[str, int] = {}
        self._refused = 0

    async def start(self) -> str:
        """Load the model, measure this machine, take connections; gives the WebSocket's address. Raises SafaError."""
        settings = self.settings
        model = await asyncio.to_thread(self._loading, settings.model, settings.backend)
        self._model = f"{model.facts.name} {model.facts.version}"
        self._storage = ClaimedStorage(settings.folder, model, self._snapshot, self._disk)
        observer: Observer = NOBODY
        if settings.trace is not None:
            tracing = Tracing(settings.trace)
            self._stack.push_async_callback(asyncio.to_thread, tracing.close)
            observer = tracing.observer
        self._runner = Runner(model, settings.layers, observer)
        await asyncio.to_thread(self._runner.start)
        self._stack.callback(self._runner.stop)
        self._stations = Stations(self._runner, settings.sessions, self._storage, self._allowances, self._clock)
        security = EngineSecurity(token=settings.secret)
        self.registry = Registry()
        self._hub = Hub(self._stations, security, settings.limits, self.registry, settings.session_seconds)
        http = Http(self._stations, security, self.registry, page_folder(), lambda: None, document)
        self._doors = OscDoors(self._stations)
        front = Front(self._hub, http, self._serve, [self._doors.route])
        port = await self._stack.enter_async_context(front.listen(settings.host, 0))
        watching = asyncio.create_task(observe(self.registry, self._runner, self._stations, None), name="metrics")
        self._stack.callback(watching.cancel)
        for beside in (self._tell_lines(), self._look_for_claims()):
            self._stack.callback(asyncio.create_task(beside).cancel)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"ws://{host}:{port}/ws"
        return self.url

    async def stop(self) -> None:
        """Leave every session so that another engine can go on with it, and end."""
        self._stations.draining = True
        for station in self._stations.all():
            self._leave(station, "the session moves")
        await self._stack.aclose()

    def halt(self) -> None:
        """Make no more sound, and save nothing: the thread's part of what the death of a process is."""
        self._runner.stop()

    def facts(self, elsewhere: Mapping[str, Usage] | None = None) -> EngineFacts:
        """How it stands. elsewhere: what tenants have at other engines; None: as it was told last."""
        runner = self._runner
        if elsewhere is not None:
            self._allowances.others = elsewhere
        stations = {station.id: self._session(station) for station in self._stations.all()}
        return EngineFacts(self.url, self._model, runner.room, runner.pace.refused, stations, self.settings.model)

    async def adopt(self, session_id: str, epoch: int, due: int | None) -> None:
        """Go on with a session that another engine had. due: the sample that ought to leave about now.

        Raises SnapshotError where somebody else was faster, or its files are not there or damaged; OutputError where
        the disk does not take them now.
        """
        try:
            place = await self._files(session_id, epoch)
            # On the engine's thread: a model is for one at a time.
            kept = await asyncio.wrap_future(self._runner.run(self._storage.restoring(place), urgent=True))
        except OSError as error:
            # A disk that is full is a matter of time; files that are gone are not.
            kind = SnapshotError if isinstance(error, FileNotFoundError) else OutputError
            raise kind(f"session {session_id} cannot go on: {type(error).__name__}: {error}") from error
        except (ValueError, KeyError) as error:
            raise SnapshotError(f"session {session_id} cannot go on: {type(error).__name__}: {error}") from error
        # It may have had the session before, been given up, and be back.
        self.drop(session_id, epoch)
        station = self._stations.adopt(kept, due)
        self._epochs[session_id] = epoch
        self._hub.adopt(station)
        log.info("session %s goes on at sample %d, epoch %d", session_id, station.position, epoch)
        settled = asyncio.get_running_loop().call_later(SETTLED, forget_before, self.settings.folder, session_id, epoch)
        self._stack.callback(settled.cancel)

    async def release(self, session_id: str) -> int:
        """Let go of a session, so that another engine can go on with it; gives the sample that it stands at.

        Raises SnapshotError where it is not here, OutputError where its journal waits for the disk: nobody could go on
        with all of it.
        """
        station = self._stations.find(session_id)
        if station is None:
            raise SnapshotError(f"session {session_id} is not here (any more)")
        if station.journal is None or not station.journal.settled():
            raise OutputError(f"session {session_id} stays: its journal waits for the disk")
        self._leave(station, "the session moves")
        return station.position

    def drop(self, session_id: str, epoch: int) -> None:
        """Be silent about a session that is another engine's in this epoch."""
        station = self._stations.find(session_id)
        if station is not None and self._epochs.get(session_id, FIRST) < epoch:
            log.warning("session %s is another engine's by now: it is dropped here", session_id)
            self._leave(station, "the session is elsewhere")

    def _leave(self, station: Station, reason: str) -> None:
        station.close(stays=True)
        self._hub.move(station, reason, MOVED)
        self._let_go(station.id)

    def _let_go(self, session_id: str) -> None:
        self._epochs.pop(session_id, None)
        self._told.pop(session_id, None)
        self._doors.moved(session_id)

    async def _files(self, session_id: str, epoch: int) -> Path:
        """Claim a session's files; where this node does not see them, they are written from the cluster's memory."""
        folder = self.settings.folder
        if epochs(folder, session_id) or self._fetch is None:
            return await asyncio.to_thread(claim, folder, session_id, epoch, self._disk)
        saved = await self._fetch(session_id)
        if saved is None:
            raise SnapshotError(f"session {session_id} has no files in {folder}, and none in the cluster's memory")
        place = place_of(folder, session_id, epoch)
        await asyncio.to_thread(write_files, saved, place)
        return place

    def _snapshot(self, place: Path) -> None:
        """A snapshot was written: keep it beside the disk as well."""
        try:
            saved = saved_of(place, place.parent.name, int(place.name))
        except (OSError, SnapshotError) as error:
            log.warning("session %s is kept on the disk only: %s", place.parent.name, error)
            return
        self._told[saved.session] = saved.at + len(saved.lines)
        self._keep(saved)

    async def _tell_lines(self) -> None:
        """Keep what journals get between snapshots, and forget sessions that have ended."""
        while True:
            await asyncio.sleep(JOURNAL_SECONDS)
            for session, told in list(self._told.items()):
                station, epoch = self._stations.find(session), self._epochs.get(session, FIRST)
                if station is None or station.journal is None:
                    del self._told[session]
                    if station is None:
                        self._keep(Saved(session, epoch, b"", b"", 0, b"", over=True))
                elif station.journal.mark.bytes > told:
                    with suppress(OSError):
                        saved = lines_of(station.journal.path.parent, session, epoch, told)
                        self._told[session] = told + len(saved.lines)
                        self._keep(saved)

    async def _look_for_claims(self) -> None:
        """Let go of what others have claimed: who was given up and lives on is told so by nobody but the disk."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for station in self._stations.all():
                with suppress(OSError):
                    known = await asyncio.to_thread(epochs, self.settings.folder, station.id)
                    self.drop(station.id, max(known, default=FIRST))

    def _serve(self, socket: ServerConnection, who: Principal) -> Connection:
        given = None if socket.request is None else token_in(socket.request.headers, {})
        told = quotas_in(self.settings.secret, given)
        if told is not None:
            tenant, quotas = told
            self._allowances.told[tenant] = quotas
        return Connection(socket, self._hub, who)

    def _session(self, station: Station) -> SessionFacts:
        epoch = self._epochs.setdefault(station.id, FIRST)
        return SessionFacts(
            epoch,
            station.position,
            station.rate,
            station.lead,
            station.rows,
            station.pacing == "live",
            station.playing,
            station.tenant,
            station.layers,
            self._hub.listening(station),
        )
