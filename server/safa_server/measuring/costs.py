"""`bench capacity`: what a session, its encodings, its listeners and relays cost on this machine.

A server in a process of its own is asked for one thing after the other; each cost is what the process used more than
before, over windows that hold whole views. Encoding is measured here, by the clock of this thread.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from safa_server.blocks import BLOCK, Block
from safa_server.client import SafaClient
from safa_server.control import Close, Grant
from safa_server.encoding import Encoder, Encoding
from safa_server.feed import packed
from safa_server.measuring.capacity import MOST_SESSIONS
from safa_server.measuring.processes import load
from safa_server.measuring.servers import Report, Running, running
from safa_server.measuring.sharing import Crowd, drained, helper
from safa_server.measuring.twins import next_frame
from safa_server.planning.costs import FORMATS, FRAMES, Costs, fitted
from safa_stream.evaluation.bench import machine
from safa_stream.scene import parse_prompts
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.tempo import Grid
from safa_stream.types import FloatArray

#: Layers of the sessions that are measured, and formats of the listeners: the largest frames and the smallest.
LAYERS = (1, 2, 4)
WRITTEN = ("f32", "opus")
#: Sound that encoders are measured with, that a session needs until its histories are full, and sessions that make it.
ENCODED_SECONDS, FULL_SECONDS, FULL_SESSIONS = 20.0, 130.0, 3
PROMPTS = ("rain", "birds", "wind", "campfire")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPlan:
    """What is measured. window: seconds of each measurement of CPU time, at least; listeners: of one session; full:
    seconds of sound until a session's memory is measured."""

    model: str = "builtin"
    backend: str = "auto"
    steps: int | None = None
    window: float = 10.0
    listeners: int = 200
    full: float = FULL_SECONDS

    def scene(self, layers: int) -> dict[str, Any]:
        """A scene of so many layers."""
        made = tuple(LayerScene(n, parse_prompts(PROMPTS[n % len(PROMPTS)]), seed=n) for n in range(layers))
        return LiveScene(made, steps=self.steps, model=self.model).as_dict()

    def flags(self) -> tuple[str, ...]:
        """The server's: it takes what comes, as a cost is no question of room."""
        many = str(MOST_SESSIONS)
        return ("--model", self.model, "--backend", self.backend, "--sessions", many, "--layers", many)


async def measure(plan: CostPlan, report: Report) -> Costs:
    """All costs. Raises SafaError where something cannot be measured."""
    began, busy = time.perf_counter(), load()
    async with running(plan.flags(), report) as server:
        started = time.perf_counter() - began
        idle, _ = await _used(server, plan.window)
        empty = server.memory()
        report(f"a server is ready after {started:.1f} s; idle it uses {idle:.3f} CPU s/s and {empty / 2**20:.0f} MB")
        by_layers: dict[int, float] = {}
        loops: list[float] = []
        for layers in LAYERS:
            crowd = Crowd(server)
            try:
                await crowd.open(plan.scene(layers))
                for _ in range(2 * layers):
                    await crowd.view()
                found = await crowd.window(plan.window)
            finally:
                await crowd.leave()
            # By the views that were made: a window that holds one more of a layer than of another is no harm.
            by_layers[layers] = max(0.0, found.loop + layers * found.layer - idle)
            loops.append(found.loop)
            report(f"{layers} layers: {by_layers[layers]:.3f} CPU s/s, {found.loop:.3f} of them in the event loop")
        listener = {format: await _listener(server, plan, format, report) for format in WRITTEN}
        relay, relayed = await _relay(server, plan, report)
        sound = await _sound(server, plan)
        encode, sizes = _encoded(sound, report)
        session_bytes = await _memory(server, plan, empty, report)
    session, layer = fitted(by_layers)
    return Costs(
        machine=machine(),
        cores=os.cpu_count() or 1,
        load=busy,
        model=plan.model,
        idle=idle,
        # What was measured had a listener in f32, which is counted by itself.
        session=max(0.0, session - encode["f32"] - listener["f32"]),
        layer=layer,
        loop=max(0.0, min(loops) - encode["f32"] - listener["f32"]),
        encode=encode,
        listener=_by_size(listener, sizes),
        relay=relay,
        relayed=_by_size(relayed, sizes),
        process_bytes=float(empty),
        session_bytes=session_bytes,
        frame_bytes=sizes,
        start_seconds=started,
        layers={str(layers): value for layers, value in by_layers.items()},
    )


async def _used(server: Running, seconds: float) -> tuple[float, float]:
    """CPU seconds a second of the process and of its event loop."""
    before, began = server.cpu(), time.perf_counter()
    await asyncio.sleep(seconds)
    after, lasted = server.cpu(), time.perf_counter() - began
    return (after[0] - before[0]) / lasted, (after[1] - before[1]) / lasted


async def _listener(server: Running, plan: CostPlan, format: str, report: Report) -> float:
    """CPU of one more listener of a session, in the event loop."""
    crowd = Crowd(server)
    try:
        await crowd.open(plan.scene(1), format)
        await crowd.view()
        one = await crowd.window(plan.window)
        while len(crowd.accounts) < plan.listeners:
            await crowd.join(format)
        await crowd.view()
        every = await crowd.window(plan.window)
    finally:
        await crowd.leave()
    cost = max(0.0, every.loop - one.loop) / (plan.listeners - 1)
    report(f"a listener in {format}: {1e6 * cost / FRAMES:.1f} us a frame in the event loop")
    return cost


async def _relay(server: Running, plan: CostPlan, report: Report) -> tuple[float, dict[str, float]]:
    """CPU of a relay that has a session and nobody, and of one more listener of it, by format."""
    alone: list[float] = []
    each: dict[str, float] = {}
    for format in WRITTEN:
        crowd = Crowd(server)
        try:
            await crowd.open(plan.scene(1), format)
            await crowd.view()
            words = (server.host, str(server.port), crowd.session, format)
            async with helper("relay", *words) as (pid, port):
                few, _ = await drained(pid, port, 1, plan.window)
                many, _ = await drained(pid, port, plan.listeners, plan.window)
        finally:
            await crowd.leave()
        each[format] = max(0.0, many - few) / plan.window / (plan.listeners - 1)
        alone.append(max(0.0, few / plan.window - each[format]))
        report(f"a relayed listener in {format}: {1e6 * each[format] / FRAMES:.1f} us a frame; a feed {alone[-1]:.4f}")
    return max(alone), each


async def _sound(server: Running, plan: CostPlan) -> FloatArray:
    """[2, N] of a session."""
    parts: list[FloatArray] = []
    async with SafaClient.connect(server.url) as client:
        await client.open(plan.scene(2), pacing="pull")
        await client.send(Grant(samples=round(ENCODED_SECONDS * client.opened["session_rate"])))
        while len(parts) * BLOCK < ENCODED_SECONDS * client.opened["session_rate"] - BLOCK:
            parts.append((await next_frame(client)).samples())
        await client.send(Close())
    return np.concatenate(parts, axis=1)


def _encoded(sound: FloatArray, report: Report) -> tuple[dict[str, float], dict[str, float]]:
    """(CPU s/s, bytes of a frame with its WebSocket header) by format; the least of three tries."""
    rate, costs, sizes = 48_000, dict[str, float](), dict[str, float]()
    blocks = [
        Block(sound[:, at : at + BLOCK], at, at // BLOCK, 0, 1, Grid(rate))
        for at in range(0, sound.shape[1] - BLOCK + 1, BLOCK)
    ]
    for format in FORMATS:
        took = math.inf
        for _ in range(3):
            encoder, frames = Encoder(Encoding(format, rate, 2), rate), list[bytes]()
            began = time.thread_time()
            for block in blocks:
                frames += [packed(frame.data) for frame in encoder.push(block)]
            took = min(took, time.thread_time() - began)
        costs[format] = took / (len(blocks) * BLOCK / rate)
        sizes[format] = sum(map(len, frames)) / len(frames)
        report(f"{format}: {costs[format]:.5f} CPU s/s to encode, {sizes[format]:.0f} bytes a frame")
    return costs, sizes


async def _memory(server: Running, plan: CostPlan, empty: int, report: Report) -> float:
    """Bytes that a session holds once its histories are full; made as fast as the machine can."""

    async def fill() -> None:
        async with SafaClient.connect(server.url) as client:
            await client.open(plan.scene(2), pacing="pull")
            clients.append(client)
            rate = client.opened["session_rate"]
            await client.send(Grant(samples=min(round(plan.full * rate), 60 * rate)))
            granted, heard = min(plan.full, 60.0), 0.0
            while heard < plan.full - 0.1:
                heard += (await next_frame(client)).header.frames / rate
                if granted < plan.full and heard > granted - 30:
                    await client.send(Grant(samples=round(min(20.0, plan.full - granted) * rate)))
                    granted += min(20.0, plan.full - granted)
            full.append(server.memory())
            if len(full) == FULL_SESSIONS:
                done.set()
            await done.wait()
            await client.send(Close())

    clients: list[SafaClient] = []
    full: list[int] = []
    done = asyncio.Event()
    await asyncio.gather(*(fill() for _ in range(FULL_SESSIONS)))
    each = max(0.0, (full[-1] - empty) / FULL_SESSIONS)
    report(f"a session holds {each / 2**20:.0f} MB after {plan.full:g} s of sound")
    return each


def _by_size(measured: dict[str, float], sizes: dict[str, float]) -> dict[str, float]:
    """Costs of a write by its size: a straight line through the two that were measured."""
    small, large = WRITTEN[1], WRITTEN[0]
    slope = max(0.0, (measured[large] - measured[small]) / (sizes[large] - sizes[small]))
    return {format: measured[small] + slope * (sizes[format] - sizes[small]) for format in FORMATS}
