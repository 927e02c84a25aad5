"""A front end behind somebody else's port: who is served, and clients that are slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from safa_server.cluster.asgi import MOST_UNHEARD, FrontEnd, Socket
from safa_server.cluster.front import FrontHttp, Lobby, parts
from safa_server.header import Header, pack
from safa_server.limits import Limits
from safa_server.security import Security
from tests.cluster.rig import SECRET, cluster
from tests.server.osc_rig import live

Event = MutableMapping[str, Any]


class Wire:
    """A server's side of one ASGI connection: what it has for the application, and what it got."""

    def __init__(self, *events: Event) -> None:
        self.coming: asyncio.Queue[Event] = asyncio.Queue()
        self.sent: list[Event] = []
        for event in events:
            self.coming.put_nowait(event)

    async def receive(self) -> Event:
        return await self.coming.get()

    async def send(self, event: Event) -> None:
        self.sent.append(event)

    def text(self, **message: Any) -> None:
        """The client says something."""
        self.coming.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})


def test_without_a_token_only_this_machine_is_served(tmp_path: Path) -> None:
    @live
    async def test() -> None:
        async with cluster(tmp_path, engines=1) as up:

            async def begin() -> tuple[Lobby, FrontHttp]:
                return parts(up.head, SECRET, Security.of("127.0.0.1"), Limits(), "front")

            front, life = FrontEnd(begin), Wire({"type": "lifespan.startup"})
            living = asyncio.create_task(front({"type": "lifespan"}, life.receive, life.send))
            while not life.sent:
                await asyncio.sleep(0.01)
            for client, status in (("127.0.0.1", 200), ("192.0.2.7", 403)):
                wire = Wire()
                scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": (client, 4711)}
                await front(scope, wire.receive, wire.send)
                assert wire.sent[0]["status"] == status
            wire = Wire({"type": "websocket.connect"})
            scope = {"type": "websocket", "path": "/ws", "headers": [], "client": ("192.0.2.7", 4711)}
            await front({**scope, "extensions": {"websocket.http.response": {}}}, wire.receive, wire.send)
            assert [event["type"] for event in wire.sent] == [
                "websocket.http.response.start",
                "websocket.http.response.body",
            ]
            assert wire.sent[0]["status"] == 403
            wire = Wire({"type": "websocket.connect"})
            wire.text(type="open", id=1, scene="low")
            serving = asyncio.create_task(front({**scope, "client": ("::1", 4711)}, wire.receive, wire.send))
            while len(wire.sent) < 5:
                await asyncio.sleep(0.01)
            assert wire.sent[0] == {"type": "websocket.accept", "subprotocol": None}
            assert json.loads(wire.sent[1]["text"])["type"] == "opened" and "bytes" in wire.sent[4]
            wire.coming.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await serving
            life.coming.put_nowait({"type": "lifespan.shutdown"})
            await living
            assert [event["type"] for event in life.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    test()


def test_who_acknowledges_frames_is_waited_for() -> None:
    @live
    async def test() -> None:
        wire = Wire()
        socket = Socket(wire.receive, wire.send, 1000)
        reading = asyncio.create_task(_read(socket))
        wire.text(type="ack", sequence=0)
        await asyncio.sleep(0)
        sending = asyncio.create_task(_frames(socket, MOST_UNHEARD + 10))
        while len(wire.sent) <= MOST_UNHEARD:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(wire.sent) == MOST_UNHEARD + 1 and not sending.done()
        wire.text(type="ack", sequence=MOST_UNHEARD)
        await sending
        assert len(wire.sent) == MOST_UNHEARD + 10
        wire.coming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        assert await reading == 2
        with pytest.raises(ConnectionClosed):
            await socket.send("too late")

    test()


def test_a_message_that_is_too_long_ends_the_connection() -> None:
    @live
    async def test() -> None:
        wire = Wire()
        wire.text(type="prompt", prompts="x" * 1000)
        assert await _read(Socket(wire.receive, wire.send, 1000)) == 0
        assert wire.sent == [{"type": "websocket.close", "code": 1009, "reason": "a message has at most 1000 bytes"}]

    test()


async def _read(socket: Socket) -> int:
    return len([message async for message in socket])


async def _frames(socket: Socket, count: int) -> None:
    for sequence in range(count):
        head = Header("s16", 2, 48_000, 1, sequence, sequence, 0, 0, 4)
        await socket.send(pack(head, np.zeros(4, np.uint8).tobytes()))
