"""`safa-stream serve --cluster`: joins or begins the cluster, and is one of its front ends until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from safa_server import loop_errors
from safa_server.address import Address
from safa_server.cluster.actors import ClusterSettings, RayHead
from safa_server.cluster.engine import EngineSettings
from safa_server.cluster.fleet import HeadSettings
from safa_server.cluster.front import front_end
from safa_server.cluster.osc_front import OscFront
from safa_server.discovery import announced, wanted
from safa_server.osc_reception import OscSettings
from safa_server.serve import security_of, stop_on_signals, with_token, write_ready
from safa_server.settings import Settings
from safa_server.telemetry.tracing import TraceSettings
from safa_server.tls import renewed_or_none
from safa_stream.errors import UsageError
from safa_stream.rayclusters import Cluster, connected

log = logging.getLogger("safa_server.cluster")

#: Bytes of a local cluster's object store: snapshots of sessions, a few megabytes each.
STORE = 256 << 20


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster that is up, seen from this process. folder: where its sessions are kept."""

    head: RayHead
    settings: ClusterSettings
    cluster: Cluster


def run(settings: Settings, ready: Callable[[Address], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. A cluster that was begun here ends with it; one that was joined goes on."""
    settings = with_token(settings)
    with cluster_of(settings) as cluster:
        asyncio.run(_serve(settings, cluster, ready))


@contextmanager
def cluster_of(settings: Settings) -> Iterator[tuple[Cluster, Path]]:
    """The Ray cluster that the settings name, and the folder of its sessions. Raises SafaError."""
    assert settings.cluster is not None
    folder = settings.state
    # Ray lets its processes wait behind all others, which is not for sound.
    os.environ.setdefault("RAY_worker_niceness", "0")
    with connected(settings.cluster, cpus=_slots(settings), store=STORE) as cluster:
        made = None
        if folder is None:
            if not cluster.started:
                raise UsageError("a cluster that is joined needs 'state', the folder where all nodes keep sessions")
            folder = made = Path(tempfile.mkdtemp(prefix="safa-sessions-"))
        try:
            yield cluster, folder.resolve()
        finally:
            if made is not None:
                shutil.rmtree(made, ignore_errors=True)


def cluster_settings(settings: Settings, folder: Path, alone: bool, even: bool = True) -> ClusterSettings:
    """What a cluster is begun with. alone: whether all of it runs on this machine; even: whether sessions are moved
    from full engines to empty ones."""
    engine = EngineSettings(
        name="",
        host="",
        secret=secrets.token_urlsafe(24),
        folder=folder,
        backend=settings.backend,
        sessions=settings.sessions,
        layers=settings.layers,
        session_seconds=settings.session_seconds,
        limits=settings.limits,
        trace=None if settings.trace is None else TraceSettings(settings.trace, settings.trace_ratio),
    )
    most = max(settings.engines, settings.most_engines or 0)
    return ClusterSettings(
        engine,
        HeadSettings(settings.engines, most, even=even, model=settings.model, more=settings.further_models),
        settings.engine_cpus,
        settings.engine_gpus,
        alone=alone,
        log_level=settings.log_level,
    )


@asynccontextmanager
async def running(settings: Settings, cluster: Cluster, folder: Path, even: bool = True) -> AsyncIterator[Running]:
    """The cluster's head and engines, begun where they are not there yet; ended with a cluster that was begun here."""
    head = RayHead.begun(cluster_settings(settings, folder, alone=cluster.started, even=even))
    try:
        yield Running(head, await head.start(), cluster)
    finally:
        if cluster.started:
            with suppress(Exception):
                await head.stop()


async def _serve(settings: Settings, found: tuple[Cluster, Path], ready: Callable[[Address], None]) -> None:
    stop = stop_on_signals()
    asyncio.get_running_loop().set_exception_handler(loop_errors.handle)
    security = security_of(settings)
    cluster, folder = found
    async with AsyncExitStack() as stack:
        tls = await stack.enter_async_context(renewed_or_none(settings.tls_cert, settings.tls_key))
        up = await stack.enter_async_context(running(settings, cluster, folder))
        secret = up.settings.engine.secret
        osc = await _open_osc(stack, settings, up.head, secret)
        ends = front_end(
            settings.host, settings.port, up.head, secret, security, settings.limits, settings.name, tls, osc
        )
        port = await stack.enter_async_context(ends)
        status = await up.head.status()
        log.info("%d engine(s) of the cluster at %s", len(status["engines"]), cluster.address)
        address = Address(
            settings.host,
            port,
            None if osc is None else osc.port,
            None,
            None,
            settings.token,
            tls is not None,
            listen_token=settings.listen_token,
        )
        if settings.ready_file is not None:
            write_ready(settings.ready_file, address)
        ready(address)
        await stop.wait()
        log.info("shutting down")
        if settings.ready_file is not None:
            settings.ready_file.unlink(missing_ok=True)


def _slots(settings: Settings) -> int:
    """Slots of a cluster that is begun here: what its engines ask for, whatever the machine has."""
    most = max(settings.engines, settings.most_engines or 0) + sum(count for _, count in settings.further_models)
    return max(1, round(most * settings.engine_cpus + 0.499))


async def _open_osc(stack: AsyncExitStack, settings: Settings, head: RayHead, secret: str) -> OscFront | None:
    """The OSC port, and its announcement. Raises UsageError where it cannot be opened."""
    if settings.osc_port is None or settings.osc_port == -1:
        return None
    known = OscSettings(settings.host, settings.osc_port, token=settings.token, other_hosts=settings.osc_other_hosts)
    osc = OscFront(head, secret, known)
    await osc.start()
    stack.push_async_callback(osc.close)
    if wanted(settings.host, settings.announce):
        await stack.enter_async_context(announced(settings.name, settings.host, osc.port, None))
    return osc
