"""Other people's programs, in a network that has nothing but loopback where the machine lets us make one.

sclang, Csound and oscdump listen on every interface of the machine; in a network of their own that reaches nobody.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: Debian's package of each program.
PACKAGES = {
    "oscsend": "liblo-tools",
    "oscdump": "liblo-tools",
    "pd": "puredata-core",
    "csound": "csound",
    "sclang": "supercollider-language",
    "scsynth": "supercollider-server",
    "ardour7-lua": "ardour",
    "jack_connect": "jackd2",
    "jack_lsp": "jackd2",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "icecast2": "icecast2",
    "ffmpeg": "ffmpeg",
    "gst-launch-1.0": "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good",
    "mcs": "mono-mcs",
    "mono": "mono-runtime",
    "systemd-analyze": "systemd",
}


def program(name: str) -> str:
    """A program's path; a test without it fails and says what to install."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        package = PACKAGES.get(name, name)
        pytest.fail(f"{name} is missing: apt-get install --no-install-recommends {package}", pytrace=False)
    return found


def free_port() -> int:
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(process: subprocess.Popen[str], port: int) -> None:
    """Wait until a program has its UDP port, in whatever network it is."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        tables = (Path(f"/proc/{process.pid}/net/{name}") for name in ("udp", "udp6"))
        if any(f":{port:04X} " in table.read_text() for table in tables if table.exists()):
            return
        time.sleep(0.02)
    pytest.fail(f"nobody listens on port {port}")


class Beside:
    """Programs in a server's network. enter: what goes before a command there; home: their home folder."""

    def __init__(self, enter: Sequence[str], home: Path) -> None:
        self.enter, self.home = enter, home

    def python(self, script: Path, *arguments: object) -> str:
        """What a Python script prints."""
        return self.run(sys.executable, script, *arguments)

    def start(self, name: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        """A program in the server's network. sclang is built with Qt, which wants to hear that there is no screen."""
        quiet = {"QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_DISABLE_SANDBOX": "1", "HOME": str(self.home)}
        return subprocess.Popen(
            [*self.enter, program(name), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **quiet, **variables},
        )

    def run(self, name: str, *arguments: object, seconds: float = 90) -> str:
        """What a program prints until it ends; one that does not end fails the test."""
        with self.start(name, *arguments) as process:
            try:
                return plain(process.communicate(timeout=seconds)[0])
            except subprocess.TimeoutExpired:
                process.kill()
                said = plain(process.communicate()[0])
        pytest.fail(f"{name} did not end within {seconds:g} s; it printed:\n{said[-2000:]}", pytrace=False)


class Running(Beside):
    """A server in a process and a network of its own, and programs beside it."""

    def __init__(self, process: subprocess.Popen[str], enter: Sequence[str], home: Path) -> None:
        super().__init__(enter, home)
        self.process = process
        self.address = self._line()
        self.port, self.tcp_port = int(self.address["port"]), int(self.address["tcp_port"])

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the server has ended: {self.process.wait(5)}"
        return dict(json.loads(line))

    def state(self) -> dict[str, Any]:
        """The session's state."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._line()


@contextmanager
def running(home: Path) -> Iterator[Running]:
    """An OSC server with a session, see osc/server.py."""
    wrap, enter_with = network()
    process = subprocess.Popen(
        [*wrap, sys.executable, str(ROOT / "tests/clients/osc/server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "server", "exporters"))},
    )
    enter = [program("nsenter"), "-t", str(process.pid), *enter_with] if wrap else []
    with process:
        try:
            yield Running(process, enter, home)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


def network() -> tuple[list[str], list[str]]:
    """What gives a command a network of its own, and nsenter's options to join it; empty where we may not make one."""
    own = ["-n"] if os.geteuid() == 0 else ["-rn"]
    if subprocess.run([program("unshare"), *own, "true"], capture_output=True).returncode:
        return [], []
    up = f'{program("ip")} link set lo up && exec "$@"'
    return [program("unshare"), *own, "sh", "-c", up, "sh"], ["-n"] if own == ["-n"] else [
        "-U",
        "-n",
        "--preserve-credentials",
    ]


def plain(text: str) -> str:
    """Without the colours that Csound writes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
