"""A real session on the air with the toy model, and OSC peers to talk to its server with."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from safa_server.osc import OscServer
from safa_server.osc_packet import Framing
from safa_server.osc_reception import OscSettings
from safa_server.requests import OpenRequest
from safa_server.runner import Runner
from safa_server.station import Station
from safa_server.stations import Stations
from tests.toy import FACTS, ToyDecoder, ToyModel

RATE = 48_000
#: Seconds to wait for a message on a machine that may be busy with other things.
PATIENCE = 10.0
#: Seconds after which a test has failed; each takes about one on a machine that has nothing else to do.
LONGEST_TEST = 180.0
Got = tuple[str, tuple[Any, ...]]
Test = Callable[[], Coroutine[Any, Any, None]]


def toy_48k() -> ToyModel:
    """The toy model at a real rate: 25 frames a second, views of 1.6 s."""
    facts = replace(FACTS, sample_rate=RATE, samples_per_frame=RATE // 25)
    return ToyModel(facts=facts, sampled_decoder=ToyDecoder(samples_per_frame=facts.samples_per_frame))


@asynccontextmanager
async def on_air(
    settings: OscSettings | None = None, scene: Any = "low, high:0.5", pacing: str = "live"
) -> AsyncIterator[tuple[OscServer, Station, Stations]]:
    """A session that plays, its server, and all sessions; the session is the server's default one."""
    runner = Runner(toy_48k(), largest_layers=64)
    runner.start()
    stations = Stations(runner)
    station = await stations.open(OpenRequest(scene, pacing=pacing))
    server = OscServer(stations, lambda: station, settings or OscSettings())
    await server.start()
    try:
        yield server, station, stations
    finally:
        await server.close()
        await stations.drain()
        runner.stop()


def packet(address: str, *arguments: Any, tags: str | None = None) -> bytes:
    """A message as another OSC library writes it."""
    builder = OscMessageBuilder(address)
    for index, argument in enumerate(arguments):
        builder.add_arg(argument, tags[index] if tags else None)
    return bytes(builder.build().dgram)


class Peer:
    """A UDP client of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.port = int(self.socket.getsockname()[1])

    async def send(self, port: int, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendto(self.socket, data, ("127.0.0.1", port))

    async def raw(self, seconds: float = PATIENCE) -> bytes:
        """The next packet."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65536), seconds)

    async def next(self, seconds: float = PATIENCE) -> Got:
        """The next message."""
        message = OscMessage(await self.raw(seconds))
        return message.address, tuple(message.params)

    async def until(self, address: str, seconds: float = PATIENCE) -> Got:
        """The next message of an address; others are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                got = await self.next(seconds)
                if got[0] == address:
                    return got

    async def ask(self, port: int, address: str, *arguments: Any, tags: str | None = None) -> Got:
        """Send a message and return what comes next."""
        await self.send(port, packet(address, *arguments, tags=tags))
        return await self.next()

    async def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes."""
        try:
            await self.raw(seconds)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self.socket.close()


def live(test: Test) -> Callable[[], None]:
    """Run a test in an event loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), LONGEST_TEST))

    # pytest would see the wrapped function's coroutine.
    del vars(run)["__wrapped__"]
    return run


@contextlib.contextmanager
def peer() -> Any:
    one = Peer()
    try:
        yield one
    finally:
        one.close()


def bundle(due: float | None, *elements: bytes) -> bytes:
    time_tag = 1 if due is None else int((due + 2_208_988_800) * 2**32)
    return b"#bundle\0" + struct.pack(">Q", time_tag) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


async def playing(station: Any, samples: int = RATE // 4) -> None:
    while station.position < samples:
        await asyncio.sleep(0.01)


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


class Wire:
    """A TCP client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, style: str) -> None:
        self.reader, self.writer, self.framing = reader, writer, Framing(style)
        self.found: list[bytes] = []

    @classmethod
    async def to(cls, port: int | None, style: str) -> Wire:
        assert port is not None
        return cls(*await asyncio.open_connection("127.0.0.1", port), style)

    def send(self, data: bytes) -> None:
        self.writer.write(self.framing.wrapped(data))

    async def next(self) -> Got:
        while not self.found:
            data = await asyncio.wait_for(self.reader.read(65536), PATIENCE)
            assert data, "the server hung up"
            self.found += self.framing.received(data)
        message = OscMessage(self.found.pop(0))
        return message.address, tuple(message.params)

    async def ended(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(65536), PATIENCE) == b""
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
