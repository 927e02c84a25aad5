"""The whole server, put together from its settings and taken down again."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from safa_server import loop_errors, osc_documents
from safa_server.address import Address
from safa_server.connection import Connection
from safa_server.device import DeviceEvent, DeviceOutput, DeviceRequest
from safa_server.discovery import announced, wanted
from safa_server.http import Http
from safa_server.hub import Hub
from safa_server.library_log import keep_secrets_out
from safa_server.lyria_socket import LyriaSettings, lyria_route
from safa_server.memory import give_back_what_is_free, keep_giving_back
from safa_server.metrics import Registry
from safa_server.midi_port import MidiLeader
from safa_server.observe import observe, observe_device
from safa_server.osc import OscServer
from safa_server.osc_reception import OscSettings
from safa_server.oscquery import OscQuery, serve_oscquery
from safa_server.principal import Access, Principal
from safa_server.radio.radio import Radio
from safa_server.requests import DEFAULT_LEAD, OpenRequest
from safa_server.runner import Runner
from safa_server.schema import document
from safa_server.secret import new_token
from safa_server.security import Security, is_loopback
from safa_server.settings import Settings
from safa_server.station import Station
from safa_server.stations import Stations
from safa_server.storage import Storage
from safa_server.telemetry.observer import NOBODY, Observer
from safa_server.telemetry.tracing import TraceSettings, Tracing
from safa_server.tempo_leader import follow
from safa_server.tempo_link import LinkLeader
from safa_server.tenants.register import Register
from safa_server.tls import renewed_or_none
from safa_server.websocket import Front
from safa_stream.channels import channel_map
from safa_stream.errors import OutputError, SceneError, UsageError
from safa_stream.models import load
from safa_stream.session.tempo import DEFAULT_BPM

log = logging.getLogger("safa_server")

#: The name of the session that a server begins with and keeps.
MAIN = "main"


def run(settings: Settings, ready: Callable[[Address], None]) -> None:
    """`serve` on an event loop of its own, as all that this process does."""

    async def alone() -> None:
        giving = asyncio.create_task(keep_giving_back(), name="memory")
        try:
            await serve(settings, ready)
        finally:
            giving.cancel()

    give_back_what_is_free()
    asyncio.run(alone())


async def serve(settings: Settings, ready: Callable[[Address], None], stop: asyncio.Event | None = None) -> None:
    """Serve until `stop` is set, or SIGTERM or SIGINT comes; `ready` is told once connections are taken.

    Raises SafaError for what the settings ask for and the world does not give.
    """
    settings = with_token(settings)
    security = security_of(settings)
    radio = Radio.of(settings)
    stop = stop or stop_on_signals()
    asyncio.get_running_loop().set_exception_handler(loop_errors.handle)
    async with AsyncExitStack() as stack:
        model = load(settings.model, settings.backend)
        log.info("model %s, licence %s, %d Hz", model.facts.name, model.facts.licence, model.facts.sample_rate)
        storage = None if settings.state is None else Storage(settings.state, model)
        observer = await _observed(stack, settings)
        runner = Runner(model, settings.layers, observer)
        await asyncio.to_thread(runner.start)
        stack.callback(runner.stop)
        stations = Stations(runner, settings.sessions, storage, security.tenants)
        began = time.perf_counter()
        restored = stations.restore() if settings.restore else []
        took = time.perf_counter() - began
        for station in restored:
            log.info("session %s goes on at sample %d", station.id, station.position)
        address, hub = await _open_ports(stack, settings, security, stations, runner, radio)
        hub.metrics.add("safa_sessions_restored_total", len(restored))
        if restored:
            hub.metrics.observe("safa_restore_seconds", took)
        main = await _main_session(settings, stations, restored)
        for station in restored:
            if station is not main:
                hub.adopt(station)
        output = None
        if main is not None:
            token = main.token or main.renew_token()
            address, stations.main = replace(address, session=main.id, session_token=token), main
            output = await _play_on_device(stack, settings, main, hub.metrics)
            await stack.enter_async_context(radio.on_air(main, hub.metrics))
        elif radio.mounts or radio.targets:
            raise UsageError(
                "no session of the server's own was restored that 'icecast' or 'rtp' could send: give a 'prompt'"
            )
        _follow_a_tempo(stack, settings, stations, output)
        if settings.ready_file is not None:
            stack.callback(settings.ready_file.unlink, missing_ok=True)
            write_ready(settings.ready_file, address)
        ready(address)
        await stop.wait()
        log.info("shutting down")
        await _drain(settings, stations, hub)


def security_of(settings: Settings) -> Security:
    """Who may talk to the server. Raises UsageError, also for a tenants file that cannot be used."""
    tenants = None if settings.tenants is None else Register(settings.tenants)
    return Security.of(settings.host, settings.token, settings.origins, settings.listen_token, tenants)


async def _observed(stack: AsyncExitStack, settings: Settings) -> Observer:
    """Who is told what happens to chunks. Raises UsageError where traces are wanted and cannot be."""
    if settings.trace is None:
        return NOBODY
    tracing = Tracing(TraceSettings(settings.trace, settings.trace_ratio))
    stack.push_async_callback(asyncio.to_thread, tracing.close)
    return tracing.observer


async def _open_ports(
    stack: AsyncExitStack, settings: Settings, security: Security, stations: Stations, runner: Runner, radio: Radio
) -> tuple[Address, Hub]:
    registry = Registry()
    hub = Hub(stations, security, settings.limits, registry, settings.session_seconds)
    tls = await stack.enter_async_context(renewed_or_none(settings.tls_cert, settings.tls_key))
    osc, query_port = None, None
    # OSC has no tenants: whoever may speak it steers the operator's own sessions and knows of no others.
    if security.tenants is not None:
        log.info("%d tenants; OSC reaches the operator's own sessions only", len(security.tenants.book.tenants))
    own = stations.seen_by(Principal(Access.LISTEN))
    if settings.osc_port != -1 and settings.osc_port is not None:
        osc = OscServer(
            own,
            lambda: _default_session(stations),
            OscSettings(
                settings.host,
                settings.osc_port,
                settings.osc_tcp_port,
                framing=settings.osc_framing,
                token=settings.token,
                other_hosts=settings.osc_other_hosts,
            ),
        )
        await osc.start()
        stack.push_async_callback(osc.close)
        if settings.oscquery_port is not None:
            query = OscQuery(own, lambda: _default_session(stations), osc, settings.name)
            query_port = await stack.enter_async_context(
                serve_oscquery(query, settings.host, settings.oscquery_port, security)
            )
    http = Http(
        stations,
        security,
        registry,
        page_folder(),
        ready=lambda: None,
        protocol=document,
        osc=None if osc is None else osc_table,
        sdp=lambda: radio.sdp,
    )
    lyria = lyria_route(stations, LyriaSettings())
    front = Front(hub, http, lambda socket, who: Connection(socket, hub, who), [lyria])
    port = await stack.enter_async_context(front.listen(settings.host, settings.port, tls))
    watching = asyncio.create_task(observe(registry, runner, stations, osc), name="metrics")
    stack.callback(watching.cancel)
    if osc is not None and osc.port is not None and wanted(settings.host, settings.announce):
        await stack.enter_async_context(announced(settings.name, settings.host, osc.port, query_port))
    address = Address(
        settings.host,
        port,
        None if osc is None else osc.port,
        None if osc is None else osc.tcp_port,
        query_port,
        settings.token,
        tls is not None,
        listen_token=settings.listen_token,
    )
    return address, hub


async def _main_session(settings: Settings, stations: Stations, restored: list[Station]) -> Station | None:
    """The session that the server begins with and keeps: the one that was restored, else of its prompt or scene."""
    kept = next((station for station in restored if station.name == MAIN and station.tenant is None), None)
    if kept is not None:
        return kept
    scene: Any = settings.prompt
    if settings.scene is not None:
        try:
            scene = json.loads(settings.scene.read_text(encoding="utf-8"))
        except OSError as error:
            raise SceneError(f"cannot read the scene {settings.scene}: {error.strerror}") from None
        except ValueError as error:
            raise SceneError(f"the scene {settings.scene} is not JSON: {error}") from None
    if scene is None:
        return None
    pacing = "live" if settings.device is None else "device"
    channels = None if settings.channel_map is None else channel_map(settings.channel_map).channels
    return await stations.open(OpenRequest(scene, pacing, DEFAULT_LEAD, MAIN, channels))


async def _play_on_device(
    stack: AsyncExitStack, settings: Settings, main: Station, registry: Registry
) -> DeviceOutput | None:
    if settings.device is None:
        return None
    name = None if settings.device == "default" else settings.device
    request = DeviceRequest(
        name, buffer=settings.device_buffer, latency=settings.device_latency, channel_map=settings.channel_map
    )
    output = DeviceOutput(main, request, _log_device)
    await output.start()
    stack.push_async_callback(output.stop)
    watching = asyncio.create_task(observe_device(registry, lambda: output.status), name="device metrics")
    stack.callback(watching.cancel)
    return output


def _follow_a_tempo(stack: AsyncExitStack, settings: Settings, stations: Stations, output: DeviceOutput | None) -> None:
    """Let sessions follow Link or a MIDI clock. Raises UsageError where that is not installed or not there."""
    leader: LinkLeader | MidiLeader
    if settings.link:
        leader = LinkLeader(DEFAULT_BPM if stations.main is None else stations.main.grid.bpm)
    elif settings.midi_clock is not None:
        leader = MidiLeader(settings.midi_clock)
    else:
        return
    stack.callback(leader.close)

    def heard(station: Station) -> int | None:
        return output.heard if output is not None and station is stations.main else None

    following = follow(leader, stations, settings.tempo_transport, settings.tempo_latency, heard)
    task = asyncio.create_task(following, name="tempo")
    stack.callback(task.cancel)


def _log_device(event: DeviceEvent) -> None:
    log.log(logging.WARNING if event.name in ("lost", "underrun") else logging.INFO, "sound device: %s", event.text)


async def _drain(settings: Settings, stations: Stations, hub: Hub) -> None:
    """Take nothing new, tell the clients, give them time to leave, then end the sessions."""
    stations.draining = True
    hub.tell_all("the server is shutting down")
    end = time.monotonic() + settings.drain_seconds
    while time.monotonic() < end and any(hub.listeners(station) for station in stations.all()):
        await asyncio.sleep(0.05)
    await stations.drain()


def _default_session(stations: Stations) -> Station | None:
    """The session that OSC addresses without one mean: the server's own, else the operator's oldest."""
    main = stations.main
    own = (station for station in stations.all() if station.tenant is None)
    return main if main is not None and not main.closed else next(own, None)


def page_folder() -> Path:
    """Where the page's files are."""
    return Path(str(importlib.resources.files("safa_server") / "web"))


def set_up_logging(level: str, as_json: bool) -> None:
    """Log lines on standard error, as text or as JSON objects."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    keep_secrets_out()


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One object a line; a trace only where something was wrong in the server itself."""
        line = {"time": self.formatTime(record), "level": record.levelname.lower(), "logger": record.name}
        line["message"] = record.getMessage()
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def osc_table(form: Literal["html", "json"]) -> str:
    """What the server's page /osc says."""
    if form == "html":
        return osc_documents.table_as_html()
    return json.dumps(osc_documents.table_as_list())


def with_token(settings: Settings) -> Settings:
    """Beyond loopback, and where there are tenants, there is a token; one is made up where none was given."""
    if settings.token is None and (settings.tenants is not None or not is_loopback(settings.host)):
        return replace(settings, token=new_token())
    return settings


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    return stop


def write_ready(path: Path, address: Address) -> None:
    """The file is there as a whole or not at all; it holds the token, so only its owner can read it."""
    partial = path.with_name(path.name + ".partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(address.ready_file(), file)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write the ready file {path}: {error.strerror}") from error
