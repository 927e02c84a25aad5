"""Real sound servers without a sound card, for one test each: JACK with its dummy driver, a PulseAudio null sink."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from safa_stream.types import FloatArray

#: What the tests here need of Debian; a missing program is a failure, not a skip.
PACKAGES = "libportaudio2 jackd2 jack-capture pulseaudio pulseaudio-utils libasound2-plugins"
RATE = 48_000
#: JACK servers of this process that run. One that was killed keeps its name in JACK's registry of eight until a server
#: of that name begins, so the lowest number that is free is taken again.
_RUNNING: set[int] = set()


def need(*programs: str) -> None:
    """Fail with what has to be installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.fail(f"{', '.join(missing)} not installed: apt-get install --no-install-recommends {PACKAGES}")


@dataclass(slots=True)
class SoundServer:
    """A running server: `device` is PortAudio's name for it."""

    command: list[str]
    ready: list[str]
    device: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            if subprocess.run(self.ready, capture_output=True).returncode == 0:
                return
            assert self.process.poll() is None, f"{self.command[0]} ended with {self.process.returncode}"
            time.sleep(0.05)
        pytest.fail(f"{self.command[0]} does not answer")

    def pull_out(self) -> None:
        """What a plug does: the server is gone without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.pull_out()


@contextmanager
def jack_server(
    monkeypatch: pytest.MonkeyPatch, period: int = 1024, rate: int = RATE, channels: int = 2
) -> Iterator[SoundServer]:
    """A JACK server under a name of its own; synchronous, for its asynchronous mode loses blocks on a busy machine."""
    need("jackd", "jack_lsp", "jack_capture")
    number = next(number for number in itertools.count() if number not in _RUNNING)
    name = f"safa{os.getpid()}-{number}"
    monkeypatch.setenv("JACK_DEFAULT_SERVER", name)
    monkeypatch.setenv("JACK_NO_START_SERVER", "1")
    monkeypatch.setenv("JACK_NO_AUDIO_RESERVATION", "1")
    command = ["jackd", "-n", name, "-S", "-d", "dummy", "-r", str(rate), "-p", str(period)]
    command += ["-P", str(channels)]
    server = SoundServer(command, ["jack_lsp"], "system JACK")
    _RUNNING.add(number)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        _RUNNING.discard(number)


@contextmanager
def pulse_server(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[SoundServer]:
    """A PulseAudio server with one null sink "cable" of float32, reached through a socket in `folder`."""
    need("pulseaudio", "pactl", "parec")
    folder.chmod(0o700)
    for name in ("HOME", "PULSE_RUNTIME_PATH", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("PULSE_SERVER", f"unix:{folder}/sock")
    command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
    command += ["-L", f"module-native-protocol-unix socket={folder}/sock auth-anonymous=1"]
    command += ["-L", "module-null-sink sink_name=cable rate=48000 channels=2 format=float32le"]
    server = SoundServer(command, ["pactl", "info"], "pulse")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def jack_recording(file: Path, ports: Sequence[str] = ("PortAudio:out_0", "PortAudio:out_1")) -> Iterator[None]:
    """Record ports into a WAV file of float32 while the block runs, a channel each."""
    command = ["jack_capture", *(word for port in ports for word in ("--port", port)), "-b", "FLOAT", str(file)]
    recorder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        listed = subprocess.run(["jack_lsp", "-c", ports[-1]], capture_output=True, text=True).stdout
        if "jack_capture" in listed:
            break
        assert recorder.poll() is None, "jack_capture ended"
        time.sleep(0.05)
    try:
        yield
    finally:
        # The return key is how one stops it; it then writes what it still holds.
        recorder.communicate(b"\n", timeout=20)


def jack_ports(*names: str, seconds: float = 30) -> None:
    """Wait until a JACK server has these ports."""
    end = time.monotonic() + seconds
    while True:
        there = subprocess.run(["jack_lsp"], capture_output=True, text=True).stdout.splitlines()
        if set(names) <= set(there):
            return
        assert time.monotonic() < end, f"JACK has no {', '.join(set(names) - set(there))}, only {', '.join(there)}"
        time.sleep(0.05)


def jack_connect(source: str, destination: str) -> None:
    """Connect two ports, once they are there; nothing where a program has connected them by itself."""
    jack_ports(source, destination)
    subprocess.run(["jack_connect", source, destination], capture_output=True)
    listed = subprocess.run(["jack_lsp", "-c", source], capture_output=True, text=True).stdout
    assert destination in [line.strip() for line in listed.splitlines()], f"{source} is not connected to {destination}"


@contextmanager
def pulse_recording(file: Path) -> Iterator[None]:
    """Record the null sink's monitor as raw float32 frames while the block runs."""
    command = ["parec", "-d", "cable.monitor", "--rate=48000", "--channels=2", "--format=float32le", "--raw"]
    with file.open("wb") as out:
        recorder = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        try:
            _wait_for_bytes(file, recorder)
            yield
            # What the server still holds for the recorder.
            time.sleep(1.0)
        finally:
            recorder.terminate()
            recorder.wait(10)


def _wait_for_bytes(file: Path, recorder: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if file.stat().st_size:
            return
        assert recorder.poll() is None, "parec ended"
        time.sleep(0.05)
    pytest.fail("the null sink's monitor gives nothing")


def recorded(file: Path, rate: int = RATE) -> FloatArray:
    """What a recorder wrote, [N, channels] float32."""
    if file.suffix == ".wav":
        frames, found = soundfile.read(file, dtype="float32", always_2d=True)
        assert found == rate
        return np.asarray(frames)
    raw = np.fromfile(file, "<f4")
    return raw[: len(raw) // 2 * 2].reshape(-1, 2)


def equal_stretch(heard: FloatArray, made: FloatArray) -> tuple[int, int]:
    """Where `made` [N, 2] begins in `heard` [M, 2], and how many frames from there on are equal to the last bit.

    Of several places the one where most is equal: a session that waits for its engine plays a loop.
    """
    begins = int(np.flatnonzero(made.any(axis=1))[0])
    first = made[begins : begins + 64]
    found = []
    for at in np.flatnonzero(heard[:, 0] == first[0, 0]):
        if np.array_equal(heard[at : at + len(first)], first):
            count = min(len(heard) - at, len(made) - begins)
            differs = np.flatnonzero((heard[at : at + count] != made[begins : begins + count]).any(axis=1))
            found.append((begins + (int(differs[0]) if len(differs) else count), int(at) - begins))
    if not found:
        pytest.fail(
            f"not one stretch of the session is in the recording ({len(heard)} frames, peak {np.abs(heard).max()})"
        )
    equal, at = max(found)
    return at, equal
