"""Faders that never rest: what a game that says every value at every picture costs, and how soon it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from safa_server.client import SafaClient
from safa_server.control import Close
from safa_server.measuring.servers import Running
from safa_server.measuring.twins import next_frame
from safa_stream.session.messages import Mix

#: Pictures a second, and values that are said at each: more messages than a connection may send of other kinds.
PICTURES, VALUES = 60, ("gain", "pan", "low", "high")
LAYERS = 2


@dataclass(frozen=True, slots=True)
class Faders:
    """What was said and what came of it: messages and commands a second, seconds to each answer, and CPU seconds a
    second that the server's event loop took more than before."""

    messages: float
    commands: float
    answers: list[float]
    loop: float


async def faders(server: Running, scene: dict[str, Any], seconds: float) -> Faders:
    """Move all faders of two layers for a while."""
    two = {**scene, "layers": [{**layer, "layer": n} for n in range(LAYERS) for layer in scene["layers"][:1]]}
    async with SafaClient.connect(server.url) as client:
        await client.open(two)
        await next_frame(client)
        listening = asyncio.create_task(_listen(client))
        quiet = await _loop_over(server, asyncio.sleep(seconds))
        commands, answers = set[int](), list[float]()

        async def say(mix: Mix) -> None:
            begun = time.perf_counter()
            commands.add(await client.send(mix))
            answers.append(time.perf_counter() - begun)

        async def play() -> None:
            begun = time.perf_counter()
            for picture in range(round(seconds * PICTURES)):
                said: list[dict[str, Any]] = [{name: (picture % 20) / 20} for name in VALUES]
                await asyncio.gather(*(say(Mix(layer=layer, **one)) for layer in range(LAYERS) for one in said))
                await asyncio.sleep(max(0.0, begun + (picture + 1) / PICTURES - time.perf_counter()))

        begun = time.perf_counter()
        busy = await _loop_over(server, play())
        took = time.perf_counter() - begun
        listening.cancel()
        await client.send(Close())
    return Faders(len(answers) / took, len(commands) / took, answers, busy - quiet)


async def _listen(client: SafaClient) -> None:
    while True:
        await next_frame(client)


async def _loop_over(server: Running, what: Awaitable[None]) -> float:
    before, begun = server.cpu()[1], time.perf_counter()
    await what
    return (server.cpu()[1] - before) / (time.perf_counter() - begun)
