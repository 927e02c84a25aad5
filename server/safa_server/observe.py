"""From what the engine, the sessions, the sound device and broadcasts count to the server's metrics, once a second."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from safa_server.device import DeviceStatus
from safa_server.memory import resident_bytes
from safa_server.metrics import Registry
from safa_server.osc import OscServer
from safa_server.pace import Times
from safa_server.radio.broadcast import BroadcastStatus
from safa_server.runner import Runner
from safa_server.station import Station
from safa_server.stations import Stations
from safa_stream.session.messages import BedBegan, BedEnded, Event, Reanchored

SECONDS = 1.0
LEAD_QUANTILES = (0.0, 0.05, 0.5)


async def observe(registry: Registry, runner: Runner, stations: Stations, osc: OscServer | None) -> None:
    """Run until cancelled."""
    watcher, loop = Watcher(registry, runner, stations, osc), asyncio.get_running_loop()
    while True:
        watcher.look()
        due = loop.time() + SECONDS
        await asyncio.sleep(SECONDS)
        registry.observe("safa_loop_late_seconds", max(0.0, loop.time() - due))


async def observe_device(registry: Registry, status: Callable[[], DeviceStatus]) -> None:
    """The same of the sound device that the server plays on. Run until cancelled."""
    before = DeviceStatus()
    while True:
        now = status()
        registry.set("safa_device_open", now.open)
        registry.set("safa_device_away", not now.open)
        registry.add("safa_device_lost_total", now.lost - before.lost)
        registry.add("safa_device_underruns_total", now.underruns - before.underruns)
        before = now
        await asyncio.sleep(SECONDS)


async def observe_broadcasts(registry: Registry, statuses: Callable[[], Sequence[BroadcastStatus]]) -> None:
    """The same of what the server broadcasts. Run until cancelled."""
    before: dict[str, BroadcastStatus] = {}
    while True:
        for now in statuses():
            last = before.get(now.name, BroadcastStatus(now.name))
            registry.set("safa_broadcast_connected", now.connected, broadcast=now.name)
            registry.add("safa_broadcast_lost_total", now.lost - last.lost, broadcast=now.name)
            for name in ("sent", "dropped", "missing", "unheard"):
                more = getattr(now, name) - getattr(last, name)
                registry.add(f"safa_broadcast_samples_{name}_total", more, broadcast=now.name)
            before[now.name] = now
        await asyncio.sleep(SECONDS)


class Watcher:
    """Holds what was counted up to the last look."""

    def __init__(self, registry: Registry, runner: Runner, stations: Stations, osc: OscServer | None) -> None:
        self._registry, self._runner, self._stations, self._osc = registry, runner, stations, osc
        self._seen: dict[str, float] = {}
        self._watched: dict[str, Callable[[], None]] = {}

    def look(self) -> None:
        """Bring the metrics up to date."""
        pace, registry = self._runner.pace, self._registry
        registry.set("safa_real_time_factor", pace.real_time_factor)
        registry.set("safa_layers", self._runner.layers)
        registry.set("safa_memory_bytes", resident_bytes())
        self._count("safa_cpu_seconds_total", time.process_time())
        self._count("safa_fewer_steps_total", pace.views_with_fewer_steps)
        self._count("safa_views_failed_total", pace.failures)
        self._count("safa_trace_lost_total", self._runner.observer.lost)
        for name, times in (
            ("safa_step_seconds", pace.step),
            ("safa_decode_seconds", pace.decode),
            ("safa_batch_rows", pace.rows),
        ):
            self._times(name, times)
        if self._osc is not None:
            self._count("safa_osc_messages_total", self._osc.counts.messages)
            self._count("safa_osc_refused_total", self._osc.counts.errors)
        self._sessions()

    def _sessions(self) -> None:
        open_now = {station.id: station for station in self._stations.all()}
        self._registry.set("safa_sessions", len(open_now))
        for gone in set(self._watched) - set(open_now):
            self._watched.pop(gone)()
            self._registry.forget("safa_lead_seconds", session=gone)
        for session_id, station in open_now.items():
            if session_id not in self._watched:
                self._watched[session_id] = self._watch(station)
            self._registry.set("safa_lead_seconds", station.lead, session=session_id)
        playing = [one for one in open_now.values() if one.live.urgent and one.playing and one.blocks]
        leads = sorted(one.lead for one in playing)
        for share in LEAD_QUANTILES:
            lead = leads[max(0, math.ceil(share * len(leads)) - 1)] if leads else math.nan
            self._registry.set("safa_lead_quantile_seconds", lead, quantile=f"{share:g}")
        kept = [one.live.kept_at for one in playing if one.live.kept_at is not None]
        self._registry.set("safa_snapshot_age_seconds", time.monotonic() - min(kept) if kept else math.nan)
        unkept = 0 if self._stations.storage is None else sum(one.journal is None for one in open_now.values())
        self._registry.set("safa_sessions_unkept", unkept)

    def _watch(self, station: Station) -> Callable[[], None]:
        def happened(event: Event) -> None:
            if isinstance(event, BedBegan):
                self._registry.add("safa_underruns_total")
            elif isinstance(event, BedEnded):
                self._registry.add("safa_bed_samples_total", event.samples)
            elif isinstance(event, Reanchored):
                self._registry.add("safa_reanchored_total")

        return station.on_event(happened)

    def _count(self, name: str, value: float) -> None:
        self._registry.add(name, value - self._seen.get(name, 0))
        self._seen[name] = value

    def _times(self, name: str, times: Times) -> None:
        fresh = min(times.count - int(self._seen.get(name, 0)), len(times.values))
        self._seen[name] = times.count
        for value in list(times.values)[len(times.values) - fresh :]:
            self._registry.observe(name, value)
