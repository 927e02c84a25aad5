"""A server that broadcasts its own session, in a process of its own, what the session made, and a real Icecast."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from safa_server.client import SafaClient
from safa_server.station import BLOCK
from safa_stream.types import FloatArray
from tests.clients.programs import ROOT, program
from tests.clients.sound_servers import equal_stretch
from tests.server.certificates import make_certificates

COMMAND = "import sys; from safa_stream.cli.main import main; sys.exit(main())"
PATIENCE = 60.0
#: Seconds after which the server's metrics know what happened.
METRICS_SECONDS = 1.2
#: Frames that are compared: of one second, or as long as one likes.
FRAMES = round(48_000 * float(os.environ.get("SAFA_RADIO_SECONDS", "1")))
#: Frames of the session that are kept from before a receiver begins.
BEFORE = 72_000
PASSWORD = "open/sesame %:@"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Something that listens to a broadcast. bits: of the whole numbers that come; listen: gives [N, 2] float32."""

    broadcast: str
    bits: int
    listen: Callable[[], FloatArray]


@dataclass(slots=True)
class OnAir:
    """A running server. address: its ready file; log: what it says."""

    process: subprocess.Popen[bytes]
    address: dict[str, Any]
    log: Path

    @property
    def url(self) -> str:
        """Of its HTTP."""
        return f"http://127.0.0.1:{self.address['port']}"

    def metric(self, name: str, broadcast: str) -> float:
        """A broadcast's figure in /metrics."""
        text = urlopen(f"{self.url}/metrics").read().decode()
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        return next(one.value for one in samples if one.name == name and one.labels == {"broadcast": broadcast})

    def left_out(self, broadcast: str) -> int:
        """Blocks that a broadcast had no time for."""
        return round(self.metric("safa_broadcast_samples_dropped_total", broadcast) / BLOCK)

    def gaps(self, broadcast: str) -> float:
        """Samples that a broadcast did not send as they were made."""
        names = ("dropped", "missing", "unheard")
        return sum(self.metric(f"safa_broadcast_samples_{name}_total", broadcast) for name in names)

    def equal(self, receivers: Sequence[Receiver]) -> tuple[int, ...]:
        """How many frames that each receiver heard, all of them and without a gap, are the session's own output on a
        grid of its bits. They listen side by side. A machine without time makes gaps, which the server tells: then they
        listen again.
        """
        while True:
            before = [self.gaps(receiver.broadcast) for receiver in receivers]
            heard, made = self.while_made(lambda: _at_once([receiver.listen for receiver in receivers]))
            equal = tuple(_equal(on_grid(made, one.bits), sound) for one, sound in zip(receivers, heard, strict=True))
            wanted = tuple(map(len, heard))
            if equal == wanted:
                return equal
            time.sleep(METRICS_SECONDS)
            gaps = [self.gaps(receiver.broadcast) for receiver in receivers]
            assert gaps != before, f"{equal} of {wanted} frames are equal"

    def until(self, name: str, broadcast: str, reached: Callable[[float], bool]) -> None:
        """Wait for a figure to get there."""
        end = time.monotonic() + PATIENCE
        while not reached(self.metric(name, broadcast)):
            assert time.monotonic() < end, f"{name} of {broadcast} stays {self.metric(name, broadcast)}"
            time.sleep(0.1)

    def sounding(self, *broadcasts: str) -> None:
        """Wait until broadcasts send what the session makes."""
        sent = {one: self.metric("safa_broadcast_samples_sent_total", one) for one in broadcasts}
        for one in broadcasts:
            self.until("safa_broadcast_samples_sent_total", one, (sent[one] + 12_000).__lt__)

    def children(self) -> dict[int, str]:
        """The programs that the server has started, by number: their command lines."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                words, stat = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
            except OSError:
                continue
            if int(stat.rsplit(")", 1)[1].split()[1]) == self.process.pid:
                found[int(folder.name)] = words.replace(b"\0", b" ").decode()
        return found

    def steered(self, work: Callable[[SafaClient], Awaitable[Result]]) -> Result:
        """Do something with the session."""

        async def do() -> Result:
            async with SafaClient.connect(f"ws://127.0.0.1:{self.address['port']}/ws") as client:
                link = dict(parse_qsl(urlsplit(self.address["url"]).fragment))
                await client.join(link["session"], link["token"], control=True)
                return await work(client)

        return asyncio.run(do())

    def while_made(self, work: Callable[[], Result]) -> tuple[Result, FloatArray]:
        """What `work` gives, and the session's own output [N, 2] from before it until after it, without a gap."""

        async def both(client: SafaClient) -> tuple[Result, FloatArray]:
            frames: list[FloatArray] = []

            async def hear() -> None:
                async for frame in client:
                    assert frame.lost == 0
                    frames.append(frame.samples())

            hearing = asyncio.create_task(hear())
            # What is on its way to the other end left the session a while ago.
            while len(frames) * BLOCK < BEFORE:
                await asyncio.sleep(0.01)
            result = await asyncio.to_thread(work)
            hearing.cancel()
            return result, np.ascontiguousarray(np.concatenate(frames, axis=1).T)

        return self.steered(both)


def _at_once(works: Sequence[Callable[[], Result]]) -> list[Result]:
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]


def _equal(made: FloatArray, heard: FloatArray) -> int:
    """Frames of what was heard that follow each other in what was made, from the first on."""
    assert np.abs(heard).max() > 1e-3
    try:
        return equal_stretch(made, heard)[1]
    except pytest.fail.Exception:
        return 0


@contextmanager
def on_air(folder: Path, *flags: str, **variables: str) -> Iterator[OnAir]:
    """`safa-stream serve` with the built-in model and a session."""
    ready, log = folder / "ready.json", folder / "server.log"
    paths = os.pathsep.join(str(ROOT / name) for name in (".", "server", "exporters"))
    words = ["serve", "--port", "0", "--osc-port", "-1", "--ready-file", str(ready), "--drain-seconds", "0.1"]
    words += ["--layers", "2", "--prompt", "rain on a tent", *flags]
    environment = {**os.environ, "PYTHONPATH": paths, **variables}
    with log.open("wb") as said:
        process = subprocess.Popen([sys.executable, "-c", COMMAND, *words], env=environment, stdout=said, stderr=said)
    try:
        end = time.monotonic() + PATIENCE
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield OnAir(process, json.loads(ready.read_text()), log)
        process.terminate()
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@dataclass(slots=True)
class Icecast:
    """A real icecast2 on loopback, its source's password PASSWORD; on another port with TLS."""

    folder: Path
    port: int = field(default_factory=lambda: free_tcp_port())
    tls_port: int = field(default_factory=lambda: free_tcp_port())
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = self.folder / "icecast.xml"
        made, both = make_certificates(self.folder), self.folder / "both.pem"
        both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
        ports = {"port": self.port, "tls_port": self.tls_port}
        settings.write_text(_SETTINGS.format(**ports, certificate=both, password=PASSWORD, user=_user()))
        self.process = subprocess.Popen(
            [program("icecast2"), "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + PATIENCE
        while self.sources() is None:
            assert self.process.poll() is None and time.monotonic() < end, "icecast2 does not answer"
            time.sleep(0.05)

    def pull_out(self) -> None:
        """It is gone without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def url(self, mount: str) -> str:
        """Where listeners hear a mount."""
        return f"http://127.0.0.1:{self.port}/{mount}"

    def source(self, mount: str, tls: bool = False) -> str:
        """What a server is told to send it, without user and password."""
        return f"icecasts://127.0.0.1:{self.tls_port}/{mount}" if tls else f"icecast://127.0.0.1:{self.port}/{mount}"

    @property
    def trusted(self) -> dict[str, str]:
        """The variable by which OpenSSL trusts it."""
        return {"SSL_CERT_FILE": str(self.folder / "authority.pem")}

    def sources(self) -> dict[str, dict[str, Any]] | None:
        """What it says of each mount, by name; None where it does not answer."""
        try:
            told = json.loads(urlopen(self.url("status-json.xsl"), timeout=2).read())["icestats"].get("source", [])
        except (OSError, ValueError):  # in its first moments it tells half of what it knows
            return None
        listed = told if isinstance(told, list) else [told]
        return {str(one["listenurl"]).rpartition("/")[2]: one for one in listed}


@contextmanager
def icecast() -> Iterator[Icecast]:
    """One for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        # It reads its certificate when it is root no more, and pytest's own folders are for root alone.
        os.chmod(folder, 0o755)
        server = Icecast(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.pull_out()


def heard(url: str, frames: int, kind: str, *input: str) -> bytes:
    """The first stereo frames that ffmpeg hears of a stream, in its raw format `kind` at 48 kHz. input: more options.

    Bytes are counted here: ffmpeg's own -t goes by time stamps, which do not begin at 0 for who joins later.
    """
    wanted = frames * 2 * {"s16": 2, "s32": 4, "f32": 4}[kind]
    command = [program("ffmpeg"), "-v", "error", "-nostdin", "-probesize", "32768", "-analyzeduration", "500000"]
    command += [*input, "-i", url]
    command += ["-ar", "48000", "-ac", "2", "-f", f"{kind}le", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        ending = threading.Timer(PATIENCE + frames / 48_000, process.kill)
        ending.start()
        raw = process.stdout.read(wanted)
        ending.cancel()
        process.kill()
        assert len(raw) == wanted, process.stderr.read().decode()
    return raw


def version(name: str) -> str:
    """A program's version, as it says itself."""
    option = {"ffmpeg": "-version", "icecast2": "-v", "gst-launch-1.0": "--version"}[name]
    said = subprocess.run([program(name), option], capture_output=True, text=True).stdout
    found = re.search(r"(?:Icecast|version) (\d+\.\d+(?:\.\d+)?)", said)
    assert found is not None, said
    return found.group(1)


def on_grid(frames: FloatArray, bits: int) -> FloatArray:
    """[N, 2] float32 to the nearest of 2^bits steps: what whole numbers of so many bits hold of it."""
    steps = 2.0 ** (bits - 1)
    return np.asarray(np.clip(np.rint(frames.astype(np.float64) * steps), -steps, steps - 1) / steps, np.float32)


def whole_numbers(raw: bytes, kind: str) -> FloatArray:
    """Interleaved stereo samples of ffmpeg's format "s16" or "s32" as [N, 2] float32; of the latter 24 bits at most."""
    values = np.frombuffer(raw, {"s16": "<i2", "s32": "<i4"}[kind])
    assert kind == "s16" or not (values % 2**8).any(), "more than 24 bits"
    return np.asarray(values / 2.0 ** (8 * values.itemsize - 1), np.float32).reshape(-1, 2)


def free_tcp_port() -> int:
    """A TCP port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _user() -> str:
    """Icecast does not run as root: whom it is to be instead."""
    return "<changeowner><user>nobody</user><group>nogroup</group></changeowner>" if getpass.getuser() == "root" else ""


_SETTINGS = """
<icecast>
  <hostname>localhost</hostname><location>here</location><admin>nobody@localhost</admin>
  <limits><sources>8</sources><source-timeout>5</source-timeout><burst-size>0</burst-size></limits>
  <authentication>
    <source-password>{password}</source-password>
    <admin-user>admin</admin-user><admin-password>not-that-of-the-source</admin-password>
  </authentication>
  <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <listen-socket><port>{tls_port}</port><bind-address>127.0.0.1</bind-address><ssl>1</ssl></listen-socket>
  <paths>
    <basedir>/usr/share/icecast2</basedir><logdir>/tmp</logdir>
    <ssl-certificate>{certificate}</ssl-certificate>
    <webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot>
  </paths>
  <logging><accesslog>-</accesslog><errorlog>-</errorlog><loglevel>2</loglevel></logging>
  <security><chroot>0</chroot>{user}</security>
</icecast>
"""
