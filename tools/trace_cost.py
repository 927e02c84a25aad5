"""What traces cost a server: CPU time without, with all, and with one in a hundred, measured in turns.

python tools/trace_cost.py --rounds 4 --seconds 20
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from safa_server.measuring.servers import measured, running
from safa_server.measuring.sharing import Crowd, Window
from safa_stream.evaluation.bench import machine
from safa_stream.evaluation.tables import text_table
from safa_stream.scene import parse_prompts
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.messages import Mix

BEFORE = "none, in the other version"
SESSIONS, COMMANDS_A_SECOND = 3, 20.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=4, help="of all ways, in turns (default: 4)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement, at least (default: 20)")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another version, its server in turns as well")
    options = parser.parse_args()
    found = measured(turns(options.rounds, options.seconds, options.against))
    rows = []
    for name, windows in found.items():
        rows.append((name, *(shown([getattr(one, what) for one in windows]) for what in ("loop", "layer"))))
    print(machine())
    print(f"{SESSIONS} sessions, {COMMANDS_A_SECOND:g} commands a second to one of them; median (least to most)")
    print(text_table(("traces", "event loop, CPU s/s", "all else, CPU s for a second of a layer"), rows))
    return 0


def shown(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})"


async def turns(rounds: int, seconds: float, against: Path | None) -> dict[str, list[Window]]:
    """Windows of each way."""
    own = os.environ.get("PYTHONPATH", "")
    async with collector() as url:
        ways = {"none": (), "all": ("--trace", url), "1 in 100": ("--trace", url, "--trace-ratio", "0.01")}
        if against is not None:
            ways = {BEFORE: (), **ways}
        found: dict[str, list[Window]] = {name: [] for name in ways}
        for number in range(rounds):
            for name, flags in ways.items():
                print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
                if against is not None and name == BEFORE:
                    paths = (str(against / part) for part in (".", "server", "exporters"))
                    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
                found[name].append(await window(flags, seconds))
                os.environ["PYTHONPATH"] = own
    return found


async def window(flags: tuple[str, ...], seconds: float) -> Window:
    """One server, its sessions, and a game that moves a fader of the first."""
    scene = LiveScene((LayerScene(0, parse_prompts("rain"), seed=0),)).as_dict()
    async with running(("--layers", "64", *flags), lambda line: None) as server:
        crowds = [Crowd(server) for _ in range(SESSIONS)]
        try:
            for crowd in crowds:
                await crowd.open(scene)
                await crowd.view()
            moving = asyncio.create_task(faders(crowds[0]))
            found = await crowds[0].window(seconds)
            moving.cancel()
            # What all of them had made, in the window that the first one's views bound.
            return Window(found.process, found.loop, found.frames, SESSIONS * found.made)
        finally:
            for crowd in crowds:
                await crowd.leave()


async def faders(crowd: Crowd) -> None:
    """Until cancelled."""
    number = 0
    while True:
        crowd.say(Mix(layer=0, gain=-(number % 12) / 2))
        number += 1
        await asyncio.sleep(1 / COMMANDS_A_SECOND)


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
