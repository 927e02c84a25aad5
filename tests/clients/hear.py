"""Listen to a session of a running server over its WebSocket, and keep what it sent.

    python hear.py READY_FILE OUT

Prints an empty line with the first frame. Writes interleaved float32 frames into OUT until its input ends, then tells
as one line of JSON where they begin, what is missing of them, and the session's state.
"""

from __future__ import annotations

import asyncio
import json
import sys
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


def main() -> None:
    address = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(asyncio.run(hear(address, Path(sys.argv[2])))), flush=True)


main()
