"""What browser tests share: the server's process, a network that can be cut, a listener, and Debian's Chromium."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from safa_server import header
from safa_stream.types import FloatArray

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: Machines that run tests are often busy: how long to wait for what takes a moment, and for a server to be there.
PATIENCE = 30.0
START_SECONDS = 90.0


def chromium() -> str:
    """Where the browser is. Fails the test where there is none: a page that was not opened was not tested."""
    found = os.environ.get("SAFA_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.fail(
            "no Chromium for the page's tests; on Debian: apt-get install --no-install-recommends chromium",
            pytrace=False,
        )
    return found


#: `safa-stream serve`, and the same parts around the toy model.
COMMAND = (sys.executable, "-c", "import sys; from safa_stream.cli import main; sys.exit(main(sys.argv[1:]))")
LIVE = (*COMMAND, "serve", "--port", "0", "--osc-port", "-1", "--layers", "16", "--drain-seconds", "0.1", "--quiet")
TOY = (sys.executable, str(HERE / "serving.py"))


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a process of its own. ready: what its ready file says."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]

    @property
    def port(self) -> int:
        return int(self.ready["port"])

    def kill(self) -> None:
        """End it without a word, as a crash would."""
        self.process.kill()
        self.process.wait(10)


@contextmanager
def started(command: Sequence[str], folder: Path, *flags: str) -> Iterator[Server]:
    """A server of its own while this context lasts. Its log may hold no traceback."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [*command, "--ready-file", str(ready), *flags]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "exporters")))
    with (folder / "server.log").open("w+") as log:
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=log)
        try:
            wait_for(lambda: ready.exists() or process.poll() is not None, START_SECONDS)
            if not ready.exists():
                log.seek(0)
                pytest.fail(f"the server did not start: {log.read()[-2000:]}")
            yield Server(process, json.loads(ready.read_text()))
        finally:
            process.terminate()
            process.wait(10)
            log.seek(0)
            said = log.read()
        assert "Traceback" not in said, said[-2000:]


@contextmanager
def served(command: Sequence[str], folder: Path, *flags: str) -> Iterator[int]:
    """The same; gives its port."""
    with started(command, folder, *flags) as server:
        yield server.port


def wait_for(met: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `met` gives once it is true. Raises AssertionError when time is up."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if result := met():
            return result
        time.sleep(0.02)
    raise AssertionError(f"not so within {seconds:g} s")


class Wire:
    """A network between browser and server, on a port of its own, that can be cut.

    It also answers for the recorder that listens to the page's worklet: Playwright cannot put itself between a page and
    the scripts of its worklets, and the page takes scripts from its own address only.
    """

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Break every connection at once, and refuse new ones for so long."""
        self._down = True
        for pair in self._pairs:
            for end in pair:
                _drop(end)
        self._pairs.clear()
        time.sleep(seconds)
        self._down = False

    def close(self) -> None:
        """Take it down for good."""
        self.cut(0)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                if self._down:
                    _drop(near)
                else:
                    threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError):
            begins = near.recv(len(_RECORDER), socket.MSG_PEEK | socket.MSG_WAITALL)
            if begins == _RECORDER:
                near.recv(65536)
                near.sendall(_script((HERE / "recorder.js").read_bytes()))
            elif begins and not self._down:
                far = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append((near, far))
                threading.Thread(target=_carry, args=(far, near), daemon=True).start()
                _carry(near, far)
        _drop(near)


_RECORDER = b"GET /test-recorder.js "


def _script(body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: text/javascript\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _drop(source)
    _drop(sink)


def _drop(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class Witness:
    """A client without a page, at the same session: hears what the server sends and asks for its state."""

    def __init__(self, port: int, session: str, token: str, after: int | None = None) -> None:
        self._stack = ExitStack()
        protocols = [Subprotocol("safa.v1")]
        self._socket = self._stack.enter_context(connect(f"ws://127.0.0.1:{port}/ws", subprotocols=protocols))
        self._answers: dict[int, dict[str, Any]] = {}
        self._number = 0
        self.blocks: dict[int, FloatArray] = {}
        threading.Thread(target=self._read, daemon=True).start()
        where = {} if after is None else {"from": after}
        # In the page's own encoding: of another one the server has no frames from before it was asked for.
        self.ask("join", session=session, token=token, control=True, format="f32", header=header.TIMED, **where)

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The server's answer. Raises AssertionError where it refuses."""
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"type": kind, "id": number, **fields}))
        answer: dict[str, Any] = wait_for(lambda: self._answers.pop(number, None))
        assert answer["type"] != "error", answer
        return answer

    def state(self) -> dict[str, Any]:
        """The session's state."""
        state: dict[str, Any] = self.ask("state")["state"]
        return state

    def layer(self, number: int = 0) -> dict[str, Any]:
        """One layer of the state."""
        return next(layer for layer in self.state()["layers"] if layer["layer"] == number)

    def sound(self) -> FloatArray:
        """[2, N]: all that has arrived, from the first frame on. Raises AssertionError where something is missing."""
        starts = sorted(self.blocks)
        blocks = [self.blocks[start] for start in starts]
        assert np.array_equal(np.diff(starts), [block.shape[1] for block in blocks[:-1]])
        return np.concatenate(blocks, axis=1)

    def end(self) -> None:
        """End the session, so that the next test finds the server free."""
        with suppress(ConnectionClosed, AssertionError):
            self.ask("close")
        self._stack.close()

    def _read(self) -> None:
        with suppress(ConnectionClosed):
            for message in self._socket:
                if isinstance(message, str):
                    said = json.loads(message)
                    if "id" in said:
                        self._answers[said["id"]] = said
                else:
                    head, payload = header.unpack(message)
                    self.blocks[head.start] = header.samples(head, payload)
