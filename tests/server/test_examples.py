"""The live examples run as they are, against a real server and the built-in model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from tests.server.test_serve import ROOT, server, url

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in (".", "server"))}


def test_live_client(tmp_path: Path) -> None:
    with server(tmp_path) as (_, address):
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples/live_client.py"), "--seconds", "3", "--url", url(address)],
            env=ENVIRONMENT,
            capture_output=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr.decode()
    assert b"3.0 s heard, 0 samples lost" in done.stderr
    samples = np.frombuffer(done.stdout, "<f4").reshape(-1, 2)
    assert len(samples) == 3 * 48_000
    assert np.abs(samples[4800:]).reshape(-1, 4800, 2).max((1, 2)).min() > 1e-4, "it is nowhere silent"


def test_session_offline(tmp_path: Path) -> None:
    out = tmp_path / "evening.wav"
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/session_offline.py"), str(out), "--seconds", "4"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "applied" in done.stdout and "view" in done.stdout
    assert soundfile.info(out).duration >= 4.0
