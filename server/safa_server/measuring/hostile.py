"""Clients that a server has to withstand: they stall, reconnect, flood, talk nonsense, or connect and say nothing.

Each is a coroutine that goes on until it is cancelled, and counts what it did in a Deeds. What they cost this process
is bounded, so that what it measures meanwhile is the server.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from safa_server.blocks import BLOCK
from safa_server.header import PLAIN, SIZES
from safa_server.measuring.account import Account
from safa_server.measuring.babble import command, nonsense
from safa_server.measuring.sockets import CLOSE, PING, Socket, dial, framed, place
from safa_stream.errors import FailureError

#: What a witness heard last is kept so long, in frames: longer than who comes back can go back.
WITNESSED = 3000
WITNESSED_FORMAT = "s16"
#: A flood's messages between two looks at what came back.
SALVO = 50
HALF_OPEN_AT_ONCE = 20


@dataclass(slots=True)
class Witness:
    """What a session sent to a client that behaves: digests of its latest frames, by sequence number."""

    digests: OrderedDict[int, int] = field(default_factory=OrderedDict)

    def saw(self, sequence: int, frame: bytes | memoryview) -> None:
        """Note a frame's samples."""
        self.digests[sequence] = hash(bytes(frame))
        while len(self.digests) > WITNESSED:
            self.digests.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A session that is attacked. token: of the session, which lets the attackers steer it."""

    host: str
    port: int
    session: str
    token: str
    witness: Witness

    @property
    def position(self) -> int:
        """The sample that the session has come to: of the latest block that the client which behaves has got."""
        return BLOCK * next(reversed(self.witness.digests), 0)


@dataclass(slots=True)
class Deeds:
    """What was done to the server.

    counts: by kind; resumed: samples of those who broke off and came back; compared: their frames that the witness had,
    too; altered: those of them that were not the same.
    """

    counts: Counter[str] = field(default_factory=Counter)
    resumed: Account = field(default_factory=Account)
    compared: int = 0
    altered: int = 0


def attackers(target: Target, deeds: Deeds, chance: random.Random) -> list[Coroutine[Any, Any, None]]:
    """Everybody who attacks one session."""
    return [
        _again(stall, target, deeds, chance),
        _again(stall, target, deeds, chance),
        _again(reconnect, target, deeds, chance),
        _again(reconnect, target, deeds, chance),
        _again(flood, target, deeds, chance),
        _again(intrude, target, deeds, chance),
        _again(gibber, target, deeds, chance),
        _again(gibber, target, deeds, chance),
        _again(half_open, target, deeds, chance),
    ]


async def _again(
    attack: Callable[[Target, Deeds, random.Random], Coroutine[Any, Any, None]],
    target: Target,
    deeds: Deeds,
    chance: random.Random,
) -> None:
    """An attack over and over; what the server refuses is refused, and tried again."""
    while True:
        try:
            await attack(target, deeds, chance)
        except FailureError:
            deeds.counts["turned_away"] += 1
        await asyncio.sleep(chance.uniform(0.05, 0.5))


async def stall(target: Target, deeds: Deeds, chance: random.Random) -> None:
    """Listen, read nothing for seconds, read on, a few times; then break the connection."""
    socket = await _joined(target)
    try:
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            socket.stall()
            deeds.counts["stalls"] += 1
            await asyncio.sleep(chance.uniform(2.0, 6.0))
            socket.resume()
    finally:
        socket.abort()


async def reconnect(target: Target, deeds: Deeds, chance: random.Random) -> None:
    """Listen, break the connection, come back for what followed, and check that nothing lacks, comes twice or differs.

    Now and then come back without asking for what was missed.
    """
    account, resumes = Account(), chance.random() < 0.8

    def hear(payload: memoryview) -> None:
        sequence, start, count = place(payload)
        account.take(sequence, start, count)
        known = target.witness.digests.get(sequence)
        if known is not None:
            deeds.compared += 1
            deeds.altered += known != hash(bytes(payload[SIZES[PLAIN] :]))

    for visit in range(4):
        fields = {"from": account.last} if visit and resumes and account.last is not None else {}
        if visit and not fields:
            account.forget()
        socket = await _joined(target, hear, format=WITNESSED_FORMAT, **fields)
        deeds.counts["resumes" if fields else "reconnects"] += 1
        try:
            await asyncio.sleep(chance.uniform(0.1, 2.0))
        finally:
            # Some say goodbye, most are just gone. What was read of a frame when they went does not count.
            if chance.random() < 0.2:
                socket.send(framed(CLOSE, b"\x03\xe8"))
                await asyncio.sleep(0.05)
            socket.abort()
        await asyncio.sleep(chance.uniform(0.0, 1.5))
    if resumes:
        deeds.resumed.frames += account.frames
        deeds.resumed.samples += account.samples
        deeds.resumed.missing += account.missing
        deeds.resumed.duplicated += account.duplicated
        deeds.resumed.disagreements += account.disagreements


async def flood(target: Target, deeds: Deeds, chance: random.Random) -> None:
    """Steer the session as fast as the server takes it, with all that there is to say."""
    socket = await _joined(target, token=target.token, control=True)
    try:
        for _ in range(chance.randrange(4, 12)):
            for _ in range(SALVO):
                kind, fields = command(chance, target.position)
                socket.say(kind, id=chance.randrange(1000), **fields)
                deeds.counts["commands"] += 1
                await socket.drained()
                if socket.closed.is_set():
                    return
            socket.texts.clear()
            await asyncio.sleep(0.02)
    finally:
        socket.abort()


async def intrude(target: Target, deeds: Deeds, chance: random.Random) -> None:
    """Say what only who controls the session may say, guess tokens, and ask for much."""
    with suppress(FailureError):
        await _joined(target, token="x" * chance.randrange(1, 200), control=True)
    socket = await _joined(target)
    try:
        for _ in range(SALVO):
            kind, fields = command(chance, target.position)
            socket.say(kind, **fields)
            socket.say("state", id=1)
            socket.send(framed(PING, os.urandom(16)))
            deeds.counts["intrusions"] += 1
            await socket.drained()
        await asyncio.sleep(0.2)
    finally:
        socket.abort()


async def gibber(target: Target, deeds: Deeds, chance: random.Random) -> None:
    """Say what is no message, what is no frame, and what is no request."""
    socket = await dial(target.host, target.port, upgrade=chance.random() < 0.8)
    try:
        for _ in range(chance.randrange(1, 12)):
            socket.send(nonsense(chance))
            deeds.counts["nonsense"] += 1
            if await socket.gone(0.05):
                return
    finally:
        socket.abort()


async def half_open(target: Target, deeds: Deeds, chance: random.Random) -> None:
    """Connections that say nothing, half a request, or nothing after it; then all are gone at once."""
    sockets: list[Socket] = []
    try:
        for _ in range(HALF_OPEN_AT_ONCE):
            kind = chance.randrange(3)
            socket = await dial(target.host, target.port, upgrade=kind == 2)
            sockets.append(socket)
            deeds.counts["half_open"] += 1
            if kind == 1:
                socket.send(b"GET /ws HTTP/1.1\r\nHost: " + b"a" * chance.randrange(200))
        await asyncio.sleep(chance.uniform(3.0, 12.0))
    finally:
        for socket in sockets:
            socket.abort()


async def _joined(
    target: Target, on_audio: Callable[[memoryview], None] = lambda payload: None, **fields: Any
) -> Socket:
    """A listener of the session. Raises FailureError where the server will not have it."""
    socket = await dial(target.host, target.port)
    try:
        socket.on_audio = on_audio
        socket.say("join", session=target.session, id=0, **fields)
        answer = await socket.until("opened", "error")
        if answer["type"] == "error":
            raise FailureError(answer["reason"])
    except BaseException:
        socket.abort()
        raise
    return socket
