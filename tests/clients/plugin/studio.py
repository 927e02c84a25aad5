"""A bridge, the server that it starts, and hosts in front of them; and a listener that hears what the session gives."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa_server.bridge.segment import PLAYING, Segment
from safa_server.client import SafaClient
from safa_stream.errors import SafaError
from safa_stream.types import FloatArray
from tests.clients.programs import ROOT, program

PLUGIN = ROOT / "examples/plugin"
HOST = ROOT / "tests/clients/plugin/host.py"
PATIENCE = 120.0
_COMMAND = "import sys; from safa_stream.cli.main import main; sys.exit(main())"


def built(folder: Path) -> Path:
    """The plugin in all its forms, made as its README says, with another place for what is made."""
    for name in ("make", "g++"):
        program(name)
    done = subprocess.run(["make", "-C", str(PLUGIN), f"OUT={folder}", "-j2"], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"the plugin does not build (Debian: dpf-source, g++, make):\n{done.stderr[-3000:]}", pytrace=False)
    return folder


@dataclass(slots=True)
class Studio:
    """A bridge that serves plugins whose SAFA_PLUGIN_FOLDER is `folder`."""

    folder: Path
    ready: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    log: Path

    def server(self) -> dict[str, Any]:
        """What the server's ready file says, once it is there."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            if self.ready.exists():
                return dict(json.loads(self.ready.read_text()))
            time.sleep(0.02)
        pytest.fail(f"the server is not up: {self.log.read_text()[-2000:]}")

    def kill_server(self) -> None:
        """As when the power fails; the bridge starts another."""
        process = self.server()["pid"]
        self.ready.unlink()
        os.kill(process, signal.SIGKILL)

    def url(self) -> str:
        """The server's WebSocket, once it is up."""
        return f"ws://127.0.0.1:{self.server()['port']}/ws"

    def segment(self) -> Segment:
        """The one plugin's segment, to look at."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for path in self.folder.glob("*.safa"):
                with path.open("r+b") as file:
                    return Segment(memoryview(mmap.mmap(file.fileno(), 0)))
            time.sleep(0.01)
        pytest.fail("no plugin shares memory")

    def until_gone(self) -> None:
        """Wait until the bridge has let go of plugins that are no more: one host at a time is looked at."""
        end = time.monotonic() + PATIENCE
        while any(self.folder.glob("*.safa")) and time.monotonic() < end:
            time.sleep(0.02)

    def host(self, order: dict[str, Any]) -> HostRun:
        """Begin to run a host; see host.py."""
        return HostRun(order, self.environment)


class HostRun:
    """A host that runs, and what it heard."""

    def __init__(self, order: dict[str, Any], environment: dict[str, str]) -> None:
        self.order = order
        self._process = subprocess.Popen(
            [sys.executable, str(HOST), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.loaded = self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            pytest.fail(f"the host has ended: {self._process.communicate()[1][-2000:]}")
        return dict(json.loads(line))

    def done(self) -> dict[str, Any]:
        """Wait for its last sound, where it holds then."""
        return self._line()

    def release(self) -> None:
        """Let a host go on that holds."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> tuple[dict[str, Any], FloatArray]:
        """What it says at its end, and what it heard, [N, 2]."""
        try:
            said = self._line()
            self._process.communicate(timeout=PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
        return said, np.load(self.order["out"])


@contextmanager
def studio(home: Path) -> Iterator[Studio]:
    """A bridge with a server of its own, which is started by it."""
    folder, ready, log = home / "plugins", home / "ready.json", home / "log"
    path = os.pathsep.join(str(ROOT / part) for part in (".", "server", "exporters"))
    environment = {**os.environ, "PYTHONPATH": path, "SAFA_PLUGIN_FOLDER": str(folder)}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", _COMMAND, "bridge", "--port", str(port)]
    # How many sessions it takes is not up to how busy the machine was when the server measured itself.
    command += ["--", "--osc-port", "-1", "--layers", "16", "--ready-file", str(ready)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    made = Studio(folder, ready, environment, process, log)
    try:
        made.server()
        yield made
    finally:
        process.terminate()
        process.wait(30)


@dataclass(slots=True)
class Listener:
    """A second client of the plugin's session, from its second frame on, in a thread of its own.

    url: gives the server's address, when it is up; but: not of that session, which is over.
    """

    url: Callable[[], str]
    rate: int
    segment: Segment
    but: str = ""
    session: str = ""
    frames: list[tuple[int, FloatArray]] = field(default_factory=list)
    lost: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _failure: Exception | None = None

    def __enter__(self) -> Listener:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(PATIENCE)

    def sound(self) -> tuple[int, FloatArray]:
        """The frame of the session that it begins with, and [N, 2]; nothing is missing in it."""
        if self._failure is not None:
            raise self._failure
        assert self.frames, f"the listener heard nothing of session {self.session!r}, status {self.segment.status}"
        for (start, one), (following, _) in zip(self.frames, self.frames[1:], strict=False):
            assert start + len(one) == following, f"frames are missing between {start + len(one)} and {following}"
        return self.frames[0][0], np.concatenate([one for _, one in self.frames])

    async def _run(self) -> None:
        try:
            while self.segment.status != PLAYING or self.segment.session in ("", self.but):
                if self._stop.is_set():
                    return
                await asyncio.sleep(0.005)
            self.session = self.segment.session
            async with SafaClient.connect(await asyncio.to_thread(self.url)) as client:
                # Frame 0 is the only one that cannot be asked for.
                await self._join(client)
                receiving = asyncio.create_task(self._receive(client))
                while not (self._stop.is_set() or receiving.done()):
                    await asyncio.sleep(0.02)
                receiving.cancel()
        except Exception as error:
            self._failure = error

    async def _join(self, client: SafaClient) -> None:
        while True:
            try:
                await client.join(self.session, rate=self.rate, channels=2, from_=0)
                return
            except SafaError:
                await asyncio.sleep(0.01)

    async def _receive(self, client: SafaClient) -> None:
        async for frame in client:
            self.frames.append((frame.header.start, np.ascontiguousarray(frame.samples().T)))
