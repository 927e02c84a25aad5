"""`safa-stream devices` and `safa-stream play`, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clients.sound_servers import jack_server, recorded


class TestCommands:
    def test_devices_are_listed_and_played_on(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        take = tmp_path / "take.wav"
        with jack_server(monkeypatch):
            listed = json.loads(safa("devices", "--json").communicate()[0])["devices"]
            (system,) = [device for device in listed if device["name"] == "system"]
            assert (system["channels"], system["rate"]) == (2, 48_000)
            playing = safa("play", "crickets", "--device", "system jack", "--record", str(take), "--json")
            wait_for_sound(tmp_path, playing)
            playing.send_signal(signal.SIGINT)
            told, errors = playing.communicate(timeout=120)
        assert playing.returncode == 0, errors
        result = json.loads(told)
        assert "Traceback" not in errors
        assert result["device"].startswith("system") and result["seconds"] > 0.5
        assert len(recorded(take)) == round(result["seconds"] * 48_000)
        assert recorded(take).std() > 1e-4

    def test_a_device_that_is_not_there_is_one_line(self) -> None:
        playing = safa("play", "crickets", "--device", "no such thing")
        _, errors = playing.communicate(timeout=120)
        assert playing.returncode in (1, 2)
        assert "no sound device" in errors and errors.count("\n") == 1


def wait_for_sound(folder: Path, playing: subprocess.Popen[str]) -> None:
    """Until a recording that is not finished yet holds a second of sound."""
    until = time.monotonic() + 120
    while playing.poll() is None and time.monotonic() < until:
        if any(file.stat().st_size > 48_000 * 2 * 4 for file in folder.glob(".take.wav.*.part")):
            return
        time.sleep(0.05)
    pytest.fail("nothing was recorded")


def safa(*words: str) -> subprocess.Popen[str]:
    """A command, begun."""
    command = [sys.executable, "-c", "import sys; from safa_stream.cli import main; sys.exit(main())", *words]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
