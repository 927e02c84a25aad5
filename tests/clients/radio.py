"""A server that broadcasts its own session, in a process of its own, what the session made, and what hears it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from safa_server.blocks import BLOCK
from safa_server.client import SafaClient
from safa_stream.types import FloatArray
from tests.clients.programs import ROOT, program
from tests.clients.sound_servers import equal_stretch

COMMAND = "import sys; from safa_stream.cli.main import main; sys.exit(main())"
PATIENCE = 60.0
#: Seconds after which the server's metrics know what happened.
METRICS_SECONDS = 1.2
#: Frames that are compared: of one second, or as long as one likes.
FRAMES = round(48_000 * float(os.environ.get("SAFA_RADIO_SECONDS", "1")))
#: Frames of the session that are kept from before a receiver begins.
BEFORE = 72_000
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
