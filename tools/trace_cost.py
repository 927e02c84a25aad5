"""What traces cost a server: CPU time without, with all, and with one in a hundred, side by side; and a call's, alone.

python tools/trace_cost.py --rounds 6 --seconds 15 --against ../another-checkout

Servers run at the same time, so that what else the machine does is the same for all: a figure is beside that of the
server without traces in the same window. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np

from safa_server.blocks import BLOCK, Block
from safa_server.listener import Sent
from safa_server.live import Live
from safa_server.measuring.servers import measured, running
from safa_server.measuring.sharing import Crowd, Window
from safa_server.telemetry.observer import NOBODY, Observer
from safa_server.telemetry.tracing import TraceSettings, Tracing
from safa_stream.evaluation.bench import machine
from safa_stream.evaluation.tables import text_table
from safa_stream.models import load
from safa_stream.scene import parse_prompts
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.messages import Mix
from safa_stream.session.session import Session
from safa_stream.session.tempo import Grid

NONE, BEFORE = "none", "none, other version"
COMMANDS_A_SECOND, CALLS = 20.0, 20_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SCENE = LiveScene((LayerScene(0, parse_prompts("rain"), seed=0),))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=6, help="windows (default: 6)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each, at least (default: 15)")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another version, its server as well")
    options = parser.parse_args()
    off, on = one_call(NOBODY), measured(traced_call())
    found = measured(beside(options.rounds, options.seconds, options.against))
    print(f"{machine()}; one session with a listener, {COMMANDS_A_SECOND:g} commands a second")
    rows = [(name, *(shown(found, name, what) for what in ("loop", "process"))) for name in found]
    print(text_table(("traces", "event loop, CPU s/s", "beside none", "process, CPU s/s", "beside none"), [
        (name, *loop, *process) for name, loop, process in rows
    ]))  # fmt: skip
    print(f"\na block's two calls on the event loop: {1e6 * off:.2f} us without traces, {1e6 * on:.2f} us with")
    return 0


def shown(found: Mapping[str, list[Window]], name: str, what: str) -> tuple[str, str]:
    """(median, median of the ratios to the server without traces in the same window, and their range)."""
    values, base = ([getattr(one, what) for one in found[each]] for each in (name, NONE))
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    return f"{statistics.median(values):.4f}", spread


async def beside(rounds: int, seconds: float, against: Path | None) -> dict[str, list[Window]]:
    """Windows of each way, all at once."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(collector())
        ways: dict[str, tuple[str, ...]] = {
            NONE: (),
            **({} if against is None else {BEFORE: ()}),
            "all": ("--trace", url),
            "1 in 100": ("--trace", url, "--trace-ratio", "0.01"),
        }
        crowds: dict[str, Crowd] = {}
        own = os.environ.get("PYTHONPATH", "")
        for name, flags in ways.items():
            if against is not None and name == BEFORE:
                parts = (str(against / part) for part in (".", "server", "exporters"))
                os.environ["PYTHONPATH"] = os.pathsep.join(parts)
            server = await stack.enter_async_context(running(flags, lambda line: None))
            os.environ["PYTHONPATH"] = own
            crowds[name] = Crowd(server)
            stack.push_async_callback(crowds[name].leave)
            await crowds[name].open(SCENE.as_dict())
            stack.callback(asyncio.create_task(faders(crowds[name])).cancel)
        found: dict[str, list[Window]] = {name: [] for name in ways}
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            windows = await asyncio.gather(*(crowd.window(seconds) for crowd in crowds.values()))
            for name, window in zip(crowds, windows, strict=True):
                found[name].append(window)
        return found


async def faders(crowd: Crowd) -> None:
    """Until cancelled."""
    number = 0
    while True:
        crowd.say(Mix(layer=0, gain=-(number % 12) / 2))
        number += 1
        await asyncio.sleep(1 / COMMANDS_A_SECOND)


def one_call(observer: Observer) -> float:
    """Seconds of this thread that telling of one block takes."""
    live = Live(Session.begin(load("builtin"), SCENE), 8.0, True)
    block = Block(np.zeros((2, BLOCK), np.float32), 0, 0, time.monotonic_ns(), 1, Grid(48_000))
    sent = Sent(1, 7732)

    def tell() -> None:
        observer.left(live, block)
        observer.wrote(live, block, sent, 1, 1e-4)

    return min(_timed(tell) for _ in range(5))


def _timed(call: Callable[[], None]) -> float:
    began = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - began) / CALLS


async def traced_call() -> float:
    """The same, with traces."""
    async with collector() as url:
        tracing = Tracing(TraceSettings(url))
        try:
            return await asyncio.to_thread(one_call, tracing.observer)
        finally:
            await asyncio.to_thread(tracing.close)


@asynccontextmanager
async def collector() -> AsyncIterator[str]:
    """Takes whatever is posted."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                await reader.readexactly(int(size[1]) if size else 0)
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
