"""A live server with the toy model, in a process of its own: `python serving.py --ready-file FILE`, and tokens.

For tests about controls: they should not wait for sound that nobody measures. `safa-stream serve` loads no such model,
so its parts are put together here; the tests about sound and looks use the command itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import replace
from pathlib import Path

from safa_server.connection import Connection
from safa_server.http import Http
from safa_server.hub import Hub
from safa_server.limits import Limits
from safa_server.metrics import Registry
from safa_server.runner import Runner
from safa_server.schema import document
from safa_server.security import Security
from safa_server.serve import page_folder
from safa_server.stations import Stations
from safa_server.tenants.register import Register
from safa_server.websocket import Front
from tests.toy import FACTS, ToyDecoder, ToyModel


async def serve(ready: Path, token: str | None, listen_token: str | None, tenants: Path | None) -> None:
    """Serve until the process is ended."""
    facts = replace(FACTS, sample_rate=48_000, samples_per_frame=1920)
    runner = Runner(ToyModel(facts=facts, sampled_decoder=ToyDecoder(samples_per_frame=1920)), largest_layers=64)
    runner.start()
    register = None if tenants is None else Register(tenants)
    stations, metrics = Stations(runner, tenants=register), Registry()
    security = Security.of("127.0.0.1", token, listen_token=listen_token, tenants=register)
    http = Http(stations, security, metrics, page_folder(), lambda: None, document)
    hub = Hub(stations, security, Limits(), metrics)
    async with Front(hub, http, lambda socket, who: Connection(socket, hub, who)).listen("127.0.0.1", 0) as port:
        partial = ready.with_suffix(".partial")
        partial.write_text(json.dumps({"port": port}))
        partial.rename(ready)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--token")
    parser.add_argument("--listen-token")
    parser.add_argument("--tenants", type=Path)
    given = parser.parse_args()
    asyncio.run(serve(given.ready_file, given.token, given.listen_token, given.tenants))
