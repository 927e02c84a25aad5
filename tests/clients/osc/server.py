"""A session on the air with an OSC server, in a process of its own.

Prints its ports as one line of JSON, then the session's state for each line that it reads; ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys

from safa_server.osc_reception import OscSettings
from tests.server.osc_rig import on_air


async def main() -> None:
    async with on_air(OscSettings(tcp_port=0)) as (server, station, _):
        print(json.dumps({"port": server.port, "tcp_port": server.tcp_port, "session": station.id}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(station.state()), flush=True)


asyncio.run(main())
