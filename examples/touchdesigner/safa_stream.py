"""TouchDesigner: a session of `safa-stream serve` steered from a WebSocket DAT, its events in a Table DAT.

This file is the Callbacks DAT of a WebSocket DAT (network address `127.0.0.1/ws`, port 8600). Beside it: a
Table DAT `events`, a CHOP `state` whose channels are what the sound follows, and a CHOP Execute DAT that calls
`op("websocket1_callbacks").module.follow(channel.name, value)`.

Not run: TouchDesigner does not run on Linux. Tests run this file with stand-ins for its objects, against a real server.
"""

from __future__ import annotations

import json
from typing import Any

SCENE = "rain on a tent, distant thunder:0.4"
#: Which channel of the CHOP moves what: the message's type, its fixed fields, the field that follows, from and to.
MAPPING = {
    "rain": ("mix", {"layer": 0, "ramp": 0.1}, "gain", -40.0, 0.0),
    "left_right": ("mix", {"layer": 0, "ramp": 0.1}, "pan", -1.0, 1.0),
    "guidance": ("configure", {}, "guidance", 1.0, 6.0),
}
#: A channel changes in every frame; it is said so often at most, seconds, and once it has moved by so much of its way.
EVERY, LEAST = 0.1, 0.01

number = 0
socket: Any = None
session: dict[str, Any] = {}
said: dict[str, tuple[float, float]] = {}


def say(kind: str, **fields: Any) -> int:
    """Send a message of server/PROTOCOL.md; returns its id."""
    global number
    number += 1
    if socket is not None:
        socket.sendText(json.dumps({"type": kind, "id": number, **fields}))
    return number


def follow(channel: str, share: float, now: float | None = None) -> None:
    """A channel's value from 0 to 1, in every frame. now: seconds, TouchDesigner's own if left out."""
    if channel not in MAPPING or not session:
        return
    now = absTime.seconds if now is None else now  # noqa: F821 (a name that TouchDesigner has everywhere)
    last = said.get(channel)
    if last is not None and (now - last[1] < EVERY or abs(share - last[0]) < LEAST):
        return
    said[channel] = share, now
    kind, fixed, field, low, high = MAPPING[channel]
    say(kind, **fixed, **{field: low + (high - low) * min(1.0, max(0.0, share))})


def onConnect(dat: Any) -> None:
    """Begin a session, or come back to the one that there was."""
    global socket
    socket = dat
    if session:
        say("join", session=session["session"], token=session["token"], control=True, format="s16", channels=1)
    else:
        # The sound is heard elsewhere: from the server's device, or from an Audio Stream In.
        say("open", scene=SCENE, format="s16", channels=1)


def onDisconnect(dat: Any) -> None:
    """The server is gone, or this session is over; pulse Reconnect from a Timer CHOP."""
    global socket
    socket = None


def onReceiveText(dat: Any, rowIndex: int, message: str) -> None:
    """An answer or an event."""
    told = json.loads(message)
    if told["type"] == "opened":
        session.update(session=told["session"], token=told["token"] or session.get("token"))
        said.clear()
    elif told["type"] == "error" and told["code"] == "no_session":
        session.clear()
    elif told["type"] not in ("done", "pong"):
        rest = {key: value for key, value in told.items() if key not in ("type", "position")}
        dat.parent().op("events").appendRow([told["type"], told.get("position", ""), json.dumps(rest)])


def onReceiveBinary(dat: Any, contents: bytes) -> None:
    """Sound; it is not played here."""


def onReceivePing(dat: Any, contents: bytes) -> None:
    """Answered by the DAT itself, or here where its Auto Pong is off."""
    dat.sendPong(contents)


def onReceivePong(dat: Any, contents: bytes) -> None:
    """Nothing to do."""


def onMonitorMessage(dat: Any, message: str) -> None:
    """The DAT's own complaints stand in its Info DAT."""
