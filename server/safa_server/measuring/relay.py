"""The least that a front end does: take one session's frames from its engine and write them to everybody who connects.

python -m safa_server.measuring.relay HOST PORT SESSION FORMAT prints its own port and runs until standard input ends.
What it uses is what relaying costs; a front end that also authenticates and resumes does so once a connection.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import transports

from safa_server.feed import packed
from safa_server.measuring.sockets import dial
from safa_server.measuring.writer import Everybody


async def relay(host: str, port: int, session: str, format: str) -> None:
    """Write until standard input ends."""
    loop, connected, ended = asyncio.get_running_loop(), set[transports.Transport](), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    engine = await dial(host, port)

    def heard(payload: memoryview) -> None:
        packet = packed(bytes(payload))
        for transport in tuple(connected):
            transport.write(packet)

    engine.on_audio = heard
    engine.say("join", session=session, format=format)
    server = await loop.create_server(lambda: Everybody(connected), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    loop.remove_reader(sys.stdin.fileno())
    server.close()
    for transport in (*connected,):
        transport.abort()
    engine.abort()


if __name__ == "__main__":
    asyncio.run(relay(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))
