"""Listen to a session of a running server over its WebSocket, and keep what it sent.

    python hear.py READY_FILE OUT

Prints an empty line with the first frame. Writes interleaved float32 frames into OUT until its input ends, then tells
as one line of JSON where they begin, what is missing of them, the session's state, and what was late meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from safa_server.client import SafaClient


async def hear(address: dict[str, Any], out: Path) -> dict[str, Any]:
    """Until the input ends."""
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with SafaClient.connect(f"ws://{address['host']}:{address['port']}/ws") as client:
        await client.join(address["session"])
        start = None
        with out.open("wb") as file:
            while not ended.done():
                frame = await anext(client)
                file.write(frame.samples().T.tobytes())
                if start is None:
                    start = frame.header.start
                    print(flush=True)
        return {"start": start, "lost": client.lost, "state": await client.state()}


def counted(address: dict[str, Any]) -> dict[str, int]:
    """Sound that was late: at the device, and in the session."""
    with urllib.request.urlopen(f"http://{address['host']}:{address['port']}/metrics") as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    found = {name: float(value) for name, value in (line for line in lines if len(line) == 2)}
    return {
        "device": int(found.get("safa_device_underruns_total", 0)),
        "beds": int(found.get("safa_underruns_total", 0)),
    }


def main() -> None:
    address = json.loads(Path(sys.argv[1]).read_text())
    before = counted(address)
    told = asyncio.run(hear(address, Path(sys.argv[2])))
    after = counted(address)
    print(json.dumps({**told, "late": {name: after[name] - before[name] for name in after}}), flush=True)


main()
