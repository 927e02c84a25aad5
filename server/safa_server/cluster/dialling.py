"""A front end's connections to engines."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from safa_server import control
from safa_server.cluster.ports import Route
from safa_server.wire import write
from safa_stream.errors import FailureError

#: How long an engine may take to answer.
ANSWER_SECONDS = 10.0
#: What the system takes of an engine's sound before a front end reads it, bytes.
RECEIVE_BUFFER = 32 << 10


class Refused(FailureError):
    """An engine, or no engine, has said no."""

    def __init__(self, answer: control.Error) -> None:
        super().__init__(answer.reason)
        self.answer = answer


async def dial(route: Route, body: control.Open | control.Join, shown: str) -> tuple[ClientConnection, dict[str, Any]]:
    """Connect to an engine for a client and have `body` carried out: the connection, and the engine's answer.

    shown: the client's pass. Raises Refused, or FailureError where it cannot be reached or does not answer.
    """
    engine = await connected(route.url, shown)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await engine.send(write(body, 0))
            while True:
                answer = await engine.recv()
                found = json.loads(answer) if isinstance(answer, str) else {}
                if found.get("id") == 0:
                    break
    except (TimeoutError, ConnectionClosed) as error:
        await engine.close()
        raise FailureError(f"{route.engine} did not answer: {error}") from None
    if found["type"] == "error":
        await engine.close()
        raise Refused(
            control.Error(
                code=found["code"],
                reason=found["reason"],
                field=found.get("field"),
                retry_after=found.get("retry_after"),
            )
        )
    return engine, dict(found)


async def connected(url: str, token: str, ping: float | None = None) -> ClientConnection:
    """A connection to an engine, which is asked every `ping` seconds whether it is there. Raises FailureError."""
    try:
        engine = await connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=[Subprotocol("safa.v1")],
            compression=None,
            open_timeout=ANSWER_SECONDS,
            max_size=None,
            close_timeout=1.0,
            ping_interval=ping,
            ping_timeout=ping,
        )
    except (OSError, InvalidHandshake) as error:
        raise FailureError(f"cannot connect to {url}: {error}") from None
    # What waits for a slow client is to wait in the engine, which looks after it; what is on its way is lost with it.
    engine.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return engine
