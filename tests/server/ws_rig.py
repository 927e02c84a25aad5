"""A whole server with the toy model on a free port, for tests that are clients of it."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection, connect

from safa_server.connection import Connection
from safa_server.header import Header, unpack
from safa_server.http import Http
from safa_server.hub import Hub
from safa_server.limits import Limits
from safa_server.metrics import Registry
from safa_server.runner import Runner
from safa_server.schema import document
from safa_server.security import Security
from safa_server.stations import Stations
from safa_server.storage import Storage
from safa_server.telemetry.observer import NOBODY, Observer
from safa_server.websocket import Front, Route
from safa_stream.models.interface import Model
from tests.toy import FACTS, ToyDecoder, ToyModel

RATE = 48_000
BLOCK = 960


def toy_48k() -> ToyModel:
    """The toy model at a real rate: 25 frames a second, views of 1.6 s."""
    facts = replace(FACTS, sample_rate=RATE, samples_per_frame=RATE // 25)
    return ToyModel(facts=facts, sampled_decoder=ToyDecoder(samples_per_frame=facts.samples_per_frame))


@dataclass(frozen=True, slots=True)
class Rig:
    """A server that runs."""

    port: int
    hub: Hub
    front: Front
    stations: Stations
    metrics: Registry
    scheme: str = "ws"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/ws"


@asynccontextmanager
async def serving(
    limits: Limits | None = None,
    security: Security | None = None,
    model: Model | None = None,
    tls: ssl.SSLContext | None = None,
    folder: Path | None = None,
    routes: Sequence[Route] = (),
    layers: int = 64,
    osc: Callable[[Literal["html", "json"]], str] | None = None,
    session_seconds: float | None = None,
    observer: Observer = NOBODY,
    storage: Storage | None = None,
) -> AsyncIterator[Rig]:
    """The server, bound to 127.0.0.1."""
    runner = Runner(model or toy_48k(), layers, observer)
    runner.start()
    security = security or Security.of("127.0.0.1")
    stations, metrics = Stations(runner, storage=storage, tenants=security.tenants), Registry()
    hub = Hub(stations, security, limits or Limits(), metrics, session_seconds)
    http = Http(stations, security, metrics, folder or Path("nothing"), lambda: None, document, osc)
    front = Front(hub, http, lambda socket, who: Connection(socket, hub, who), routes)
    try:
        async with front.listen("127.0.0.1", 0, tls) as port:
            yield Rig(port, hub, front, stations, metrics, "wss" if tls else "ws")
    finally:
        await stations.drain()
        runner.stop()


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; no test takes longer than this."""

    async def bounded() -> None:
        async with asyncio.timeout(90):
            await test

    asyncio.run(bounded())


class Raw:
    """A client that sees every message as it is."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[tuple[Header, bytes, bytes]] = []
        self.texts: list[dict[str, Any]] = []

    async def say(self, type: str, id: int | None = None, **fields: Any) -> None:
        """Send a message."""
        number = {} if id is None else {"id": id}
        await self.socket.send(json.dumps({"type": type, **number, **fields}))

    async def ask(self, type: str, **fields: Any) -> dict[str, Any]:
        """Send a message and return its answer; what comes before it is kept."""
        await self.say(type, 77, **fields)
        return await self.until(lambda message: message.get("id") == 77)

    async def read(self) -> dict[str, Any] | Header:
        """The next message, kept as well."""
        message = await self.socket.recv()
        if isinstance(message, str):
            self.texts.append(json.loads(message))
            return self.texts[-1]
        header, payload = unpack(message)
        self.frames.append((header, payload, message))
        return header

    async def until(self, wanted: Any) -> dict[str, Any]:
        """The next text message that is wanted."""
        async with asyncio.timeout(45):
            while True:
                message = await self.read()
                if isinstance(message, dict) and wanted(message):
                    return message

    async def hear(self, count: int) -> list[tuple[Header, bytes, bytes]]:
        """Wait until so many frames have come; all of them."""
        async with asyncio.timeout(45):
            while len(self.frames) < count:
                await self.read()
        return self.frames


@asynccontextmanager
async def client(rig: Rig, **options: Any) -> AsyncIterator[Raw]:
    """A raw client of /ws."""
    options = {"subprotocols": ["safa.v1"], "compression": None, "max_size": 2**22, "max_queue": None, **options}
    async with connect(rig.url, **options) as socket:
        yield Raw(socket)


async def eventually(condition: Any, seconds: float = 20.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@contextmanager
def quiet_log() -> Iterator[list[logging.LogRecord]]:
    """Fails where anything above WARNING, or any traceback, was logged meanwhile, by anyone."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler, root = Keep(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield records
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    loud = [record for record in records if record.levelno > logging.WARNING or record.exc_info]
    assert not loud, [record.getMessage() for record in loud]
