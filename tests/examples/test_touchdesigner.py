"""TouchDesigner's callbacks with stand-ins for its objects, against a real server; TouchDesigner itself is not run."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.clients.proofs import Proof, Proofs
from tests.examples.conftest import Served
from tests.server.test_serve import ROOT


@pytest.fixture
def callbacks() -> ModuleType:
    """The file as TouchDesigner would load it."""
    place = importlib.util.spec_from_file_location("safa_callbacks", ROOT / "examples/touchdesigner/safa_stream.py")
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


class Dat:
    """What the callbacks use of a WebSocket DAT and of the Table DAT beside it."""

    def __init__(self, socket: Any) -> None:
        self._socket, self.rows = socket, list[list[Any]]()

    def sendText(self, text: str) -> None:
        self._socket.send(text)

    def parent(self) -> Dat:
        return self

    def op(self, name: str) -> Dat:
        assert name == "events"
        return self

    def appendRow(self, row: list[Any]) -> None:
        self.rows.append(row)


def hear(callbacks: ModuleType, dat: Dat, socket: Any, until: str) -> dict[str, Any]:
    """Hand messages to the callbacks until one of a type has come."""
    while True:
        message = socket.recv(timeout=30)
        if isinstance(message, str):
            callbacks.onReceiveText(dat, 0, message)
            told: dict[str, Any] = json.loads(message)
            assert told["type"] != "error", told
            if told["type"] == until:
                return told
        else:
            callbacks.onReceiveBinary(dat, message)


def test_channels_steer_a_session_and_find_it_again(callbacks: ModuleType, served: Served, proofs: Proofs) -> None:
    protocol = [Subprotocol("safa.v1")]
    with connect(served.url, subprotocols=protocol) as socket:
        dat = Dat(socket)
        callbacks.follow("rain", 1.0, 0.0)
        callbacks.onConnect(dat)
        session = hear(callbacks, dat, socket, "opened")["session"]
        first = callbacks.number
        for frame in range(120):
            callbacks.follow("rain", frame / 240, frame / 60)
            callbacks.follow("guidance", 0.5, frame / 60)
            callbacks.follow("nothing", frame, frame / 60)
        assert 15 < callbacks.number - first < 25
        callbacks.say("state")
        state = hear(callbacks, dat, socket, "state")["state"]
        assert -22 < state["layers"][0]["gain"] < -18 and state["layers"][0]["guidance"] == 3.5
        assert any(row[0] == "applied" for row in dat.rows)
    callbacks.onDisconnect(dat)
    callbacks.follow("rain", 1.0, 100.0)
    with connect(served.url, subprotocols=protocol) as socket:
        dat = Dat(socket)
        callbacks.onConnect(dat)
        again = hear(callbacks, dat, socket, "opened")
        assert again["session"] == session and again["control"]
        callbacks.follow("rain", 1.0, 101.0)
        hear(callbacks, dat, socket, "done")
        callbacks.say("state")
        assert hear(callbacks, dat, socket, "state")["state"]["layers"][0]["gain"] == 0.0
    proofs.tell(
        Proof(
            "TouchDesigner",
            "its callbacks with stand-ins for its objects: a real session is steered and found again",
            "",
            not_run="TouchDesigner itself: it does not run on Linux",
        )
    )
