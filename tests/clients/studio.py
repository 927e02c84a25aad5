"""A studio without a sound card: a JACK server, `safa-stream serve` that plays into it, and programs beside them.

Server and programs share a network of their own; JACK is reached through memory and sockets of the file system, which
all networks share.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from safa_stream.types import FloatArray
from tests.clients.programs import ROOT, Beside, network
from tests.clients.sound_servers import equal_stretch, jack_server

#: Where the server's sound comes out.
OUTPUTS = ("PortAudio:out_0", "PortAudio:out_1")
#: Frames of a JACK period: long enough for a machine that has other things to do.
PERIOD = 1024
#: Seconds between the session and JACK, for the same reason. SAFA_DEVICE_BUFFER gives another.
BUFFER = float(os.environ.get("SAFA_DEVICE_BUFFER", "0.8"))
PROMPT = "steady rain"
#: Performances that a machine is given which is busy with other things; seconds after which lateness is counted.
TRIES, COUNTED = 4, 1.2


@dataclass(slots=True)
class Heard:
    """What a session sent meanwhile. frames: [N, 2] from sample `start` of its clock on; delay: samples by which a
    command is heard later than its `start`; state: the session's at the end."""

    frames: FloatArray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    start: int = 0
    delay: int = 0
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Take:
    """What came out of a program while the session was heard, too. out: [M, channels]; said: what it printed."""

    out: FloatArray
    heard: Heard
    said: str

    @property
    def made(self) -> int:
        """Frames that the session sent."""
        return len(self.heard.frames)

    def equal(self, channel: int = 0) -> tuple[int, int]:
        """Where the session begins in two channels, and how many frames from there on are equal to the last bit."""
        return equal_stretch(np.ascontiguousarray(self.out[:, channel : channel + 2]), self.heard.frames)

    def all_equal(self, how: str, channel: int = 0) -> int:
        """The session's frames, which all are there. how: what is said of them where that is not so."""
        begins, equal = self.equal(channel)
        assert equal == self.made, f"{how}: {equal} of {self.made} frames are equal, from recorded frame {begins} on"
        return equal

    def whole(self, channel: int) -> bool:
        """Whether all of the session is there."""
        with contextlib.suppress(pytest.fail.Exception):
            return self.equal(channel)[1] == self.made
        return False


T = TypeVar("T", bound=Take)


class Studio(Beside):
    """osc_port: the server's; ready: the file that says where it is."""

    def __init__(self, enter: Sequence[str], home: Path, ready: Path) -> None:
        super().__init__(enter, home)
        self.ready = ready
        self.osc_port = int(json.loads(ready.read_text())["osc_port"])

    def tell(self, address: str, *tags_and_values: object) -> None:
        """Say something to the server over OSC."""
        self.run("oscsend", "127.0.0.1", self.osc_port, address, *tags_and_values)

    def reset(self) -> None:
        """Let the session be as it was at first, for the next program."""
        for address in ("layer/0/gain", "layer/0/pan", "layer/0/mute", "layer/0/low", "master/gain"):
            self.tell(f"/safa/{address}", "f", 0)
        self.tell("/safa/prompt", "sf", PROMPT, 0)

    def late(self) -> int:
        """Times that JACK asked in vain for sound of the server, up to a second ago."""
        return int(self.python(ROOT / "tests/clients/late.py", self.ready))

    def undisturbed(self, perform: Callable[[], T], good: Callable[[T], bool]) -> T:
        """The first performance that is good; another try is had only where this machine stood in the way.

        What the server reports as late is missing for every program behind it, and where more wants to run than there
        are cores, nothing is as quick as it could be; neither is the fault of what is tested.
        """
        for _ in range(TRIES - 1):
            before, take = self.late(), perform()
            if good(take):
                return take
            time.sleep(COUNTED)
            if self.late() == before and not busy():
                return take
        return perform()

    @contextmanager
    def hearing(self, settle: float = 0.3) -> Iterator[Heard]:
        """The session's own output while the block runs, complete when it is over.

        settle: seconds after which what was sent has come out of the device, too, besides the buffer between them."""
        out = self.home / f"heard-{time.monotonic_ns()}.f32"
        listener = subprocess.Popen(
            [*self.enter, sys.executable, str(ROOT / "tests/clients/hear.py"), str(self.ready), str(out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert listener.stdin is not None and listener.stdout is not None
        heard = Heard()
        try:
            assert listener.stdout.readline() == "\n", "nothing was heard of the session"
            yield heard
        finally:
            said = listener.communicate(timeout=30)[0]
        told = json.loads(said)
        assert told["lost"] == 0, "the listener was too slow"
        heard.frames = np.fromfile(out, "<f4").reshape(-1, 2)
        heard.start, heard.state, heard.delay = told["start"], told["state"], told["state"]["delay"]
        time.sleep(BUFFER + settle)


def busy() -> bool:
    """Whether more wants to run here than there are cores."""
    return os.getloadavg()[0] >= (os.cpu_count() or 1)


def environment() -> dict[str, str]:
    """Variables with which Python finds this checkout."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "server", "exporters"))}


@contextmanager
def open_studio(home: Path) -> Iterator[Studio]:
    """JACK and a server with one session, which plays."""
    ready, log = home / "ready.json", home / "serve.log"
    with pytest.MonkeyPatch.context() as patch, jack_server(patch, PERIOD) as jack, log.open("w") as written:
        wrap, enter_with = network()
        command = ["-c", "import sys; from safa_stream.cli.main import main; sys.exit(main())", "serve"]
        flags = ["--port", "0", "--osc-port", "0", "--ready-file", str(ready), "--prompt", PROMPT, "--layers", "3"]
        flags += ["--device", jack.device, "--device-buffer", str(BUFFER), "--drain-seconds", "0", "--quiet"]
        process = subprocess.Popen(
            [*wrap, sys.executable, *command, *flags], env=environment(), stdout=written, stderr=subprocess.STDOUT
        )
        try:
            end = time.monotonic() + 90
            while not ready.exists():
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            enter = ["nsenter", "-t", str(process.pid), *enter_with] if wrap else []
            yield Studio(enter, home, ready)
        finally:
            process.terminate()
            process.wait(20)
