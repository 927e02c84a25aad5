"""How soon a change is heard: from sending it to the first frame that is not what would have been.

What would have been is known from a twin: a session of the same scene and seed that is left alone. It runs by grants,
ahead of all others, so it takes nothing from a live session, and one twin does for all sessions of a scene.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from safa_server.blocks import BLOCK
from safa_server.client import Received, SafaClient
from safa_server.control import Close, Grant
from safa_server.measuring.servers import Report, Running
from safa_server.requests import LEAST_LEAD
from safa_stream.errors import FailureError
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import Command, Mix, Prompt
from safa_stream.session.strips import SILENT
from safa_stream.types import FloatArray

#: What counts as another sound; twins that are left alone differ by less than a hundredth of it.
DIFFERENT = 1e-4
#: How long a change may take to be heard before the measurement is given up.
PATIENCE_SECONDS = 120.0
#: Frames that a muted session has to be equal to its twin again before the next change.
EQUAL_FRAMES = 10
BLOCK_SECONDS = 0.02
#: A session's second in which its prompt is changed at the latest, and what the twin has beyond it from the beginning.
LATEST_CHANGE, TWIN_AHEAD = 10.0, 8.0
#: Sessions that may be thrown away, for each that is wanted, because they were not their twin's equal before a change.
MOST_THROWN = 2
_BUSY = (
    "{} times a session was not what its twin was before the change: it had beds or fewer steps, "
    "so this machine is too busy to measure"
)


class Twin:
    """The undisturbed sound of a scene, fetched as it is asked for."""

    def __init__(self, client: SafaClient) -> None:
        """`client` is connected and has no session yet."""
        self._client = client
        self._frames: dict[int, FloatArray] = {}
        self._granted = 0
        self._length = 0

    async def open(self, scene: dict[str, Any], seconds: float = 0.0) -> None:
        """Begin, have so much made and wait until nothing of it is in the making."""
        await self._client.open(scene, pacing="pull", lead=LEAST_LEAD)
        if not seconds:
            return
        await self.at(round(seconds / BLOCK_SECONDS) * BLOCK)
        while min(layer["lead"] for layer in (await self._client.state())["layers"]) < LEAST_LEAD:
            await asyncio.sleep(0.1)

    async def at(self, start: int) -> FloatArray:
        """The frame [channels, N] that begins at a sample."""
        while start not in self._frames:
            if self._length >= self._granted - self._client.opened["session_rate"]:
                samples = 2 * self._client.opened["session_rate"]
                await self._client.send(Grant(samples=samples))
                self._granted += samples
            frame = await next_frame(self._client)
            self._frames[frame.header.start] = frame.samples()
            self._length = frame.header.start + frame.header.frames
        return self._frames[start]


@dataclass(slots=True)
class Sent:
    """A change on its way. at: when it was sent, infinite before that."""

    at: float = float("inf")


@dataclass(frozen=True, slots=True)
class Heard:
    """A prompt change. seconds: from sending to the first frame that differs; before: what each view took that its
    session had made, alone; view: what the view took that made the change."""

    seconds: float
    before: list[float]
    view: float


async def now_changes(
    server: Running, scene: dict[str, Any], prompt: str, changes: int, chance: random.Random, report: Report
) -> tuple[list[Heard], int]:
    """Prompt changes with `now` at random moments, one a session, and how many sessions had to be thrown away.

    Raises FailureError where sessions and twin do not stay alike, or a change is not heard.
    """
    command = Prompt(prompts=parse_prompts(prompt), morph=0.0, now=True)
    found: list[Heard] = []
    thrown = 0
    async with SafaClient.connect(server.url) as twins:
        twin = Twin(twins)
        await twin.open(scene, LATEST_CHANGE + TWIN_AHEAD)
        report(f"a twin was made; {changes} changes of the prompt, now")
        while len(found) < changes:
            heard = await _one_change(server, scene, twin, command, chance.uniform(0.5, LATEST_CHANGE), chance)
            if heard is not None:
                found.append(heard)
                report(f"change {len(found)} of {changes} was heard after {heard.seconds:.3f} s")
            elif (thrown := thrown + 1) > MOST_THROWN * changes:
                raise FailureError(_BUSY.format(thrown))
        await twins.send(Close())
    return found, thrown


async def gain_changes(server: Running, scene: dict[str, Any], changes: int, chance: random.Random) -> list[float]:
    """Gain to silence within 5 ms and back, at random moments of one session, once it is its twin's equal again.

    Seconds from sending to the first frame that differs. Raises FailureError as `now_changes`.
    """
    found: list[float] = []
    thrown = 0
    down = Mix(layer=0, gain=SILENT, ramp=0.005)
    up = Mix(layer=0, gain=0.0, ramp=0.005)
    async with SafaClient.connect(server.url) as twins, SafaClient.connect(server.url) as client:
        twin = Twin(twins)
        await twin.open(scene)
        await client.open(scene)
        while len(found) < changes:
            await _equal(client, twin)
            sending = asyncio.create_task(_send(client, down, sent := Sent(), chance.uniform(0.0, 0.3)))
            seconds = await _differs(client, twin, sent)
            await sending
            await client.send(up)
            if seconds < 0 and (thrown := thrown + 1) > MOST_THROWN * changes:
                raise FailureError(_BUSY.format(thrown))
            if seconds >= 0:
                found.append(seconds)
        await client.send(Close())
        await twins.send(Close())
    return found


async def next_frame(client: SafaClient) -> Received:
    """Raises FailureError where the session has ended."""
    try:
        return await anext(client)
    except StopAsyncIteration:
        raise FailureError("a session ended while it was measured") from None


async def _one_change(
    server: Running, scene: dict[str, Any], twin: Twin, command: Command, moment: float, chance: random.Random
) -> Heard | None:
    """None where the session had stopped being its twin's equal before the change."""
    async with SafaClient.connect(server.url) as client:
        await client.open(scene)
        start = 0
        while start < moment * client.opened["rate"]:
            frame = await next_frame(client)
            start = frame.header.start
            if await _difference(frame, twin) > DIFFERENT:
                await client.send(Close())
                return None
        sending = asyncio.create_task(_send(client, command, sent := Sent(), chance.uniform(0.0, BLOCK_SECONDS)))
        seconds = await _differs(client, twin, sent)
        number = await sending
        told = await _told(client, number)
        await client.send(Close())
        return None if seconds < 0 or told is None else Heard(seconds, *told)


async def _send(client: SafaClient, command: Command, sent: Sent, after: float) -> int:
    await asyncio.sleep(after)
    sent.at = time.perf_counter()
    number: int = await client.send(command)
    return number


async def _differs(client: SafaClient, twin: Twin, sent: Sent) -> float:
    """Seconds from sending to the first frame that differs; below 0 where it came before.

    The twin may be late: frames wait for it with the time at which they came.
    """
    waiting: asyncio.Queue[tuple[float, Received]] = asyncio.Queue()

    async def listen() -> None:
        async for frame in client:
            waiting.put_nowait((time.perf_counter(), frame))

    listening = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                arrived, frame = await waiting.get()
                if await _difference(frame, twin) > DIFFERENT:
                    return arrived - sent.at
    except TimeoutError:
        raise FailureError(f"a change was not heard within {PATIENCE_SECONDS:g} s") from None
    finally:
        listening.cancel()


async def _equal(client: SafaClient, twin: Twin) -> None:
    equal = 0
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for frame in client:
                equal = 0 if await _difference(frame, twin) > DIFFERENT else equal + 1
                if equal == EQUAL_FRAMES:
                    return
    except TimeoutError:
        pass
    raise FailureError(_BUSY.format(1))


async def _difference(frame: Received, twin: Twin) -> float:
    return float(np.abs(frame.samples() - await twin.at(frame.header.start)).max())


async def _told(client: SafaClient, command: int) -> tuple[list[float], float] | None:
    """Seconds that the views before a command took, and the first one after it.

    None where a bed or a view with fewer steps may be what differed, or nothing is told soon.
    """
    for _ in range(50):
        before: list[float] = []
        applied = False
        for event in client.events:
            if event["type"] in ("bed.began", "fewer_steps"):
                return None
            if event["type"] == "applied" and event["command"] == command:
                applied = True
            if event["type"] == "view" and applied:
                return before, float(event["made_in"])
            if event["type"] == "view":
                before.append(float(event["made_in"]))
        await asyncio.sleep(0.01)
    return None
