"""Sessions follow Ableton Link and a MIDI clock, by other makers, in a network of nothing but loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients.programs import ROOT, program
from tests.clients.proofs import Proof, Proofs
from tests.clients.sound_servers import jack_server

RIG = ROOT / "tests/clients/tempo/rig.py"


def measured(mode: str) -> dict[str, Any]:
    """What the rig found, in a network of its own with a way for multicast."""
    own = "-n" if os.geteuid() == 0 else "-rn"
    ip = program("ip")
    up = f'{ip} link set lo up && {ip} route add 224.0.0.0/4 dev lo && exec "$@"'
    command = [program("unshare"), own, "sh", "-c", up, "sh", sys.executable, str(RIG), mode]
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "server", "exporters"))
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=150, env={**os.environ, "PYTHONPATH": paths}
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return dict(json.loads(found.stdout.splitlines()[-1]))


def is_near(found: dict[str, Any], name: str, most: float, spread: float) -> None:
    """Half of the frames are within so many ms of the leader, and half within `spread` of each other."""
    low, middle, high = np.percentile(found[name], [25, 50, 75])
    print(f"{name}: {low:.2f} {middle:.2f} {high:.2f} ms, followed in {found[f'{name} took']:.2f} s")
    assert abs(middle) <= most and high - low <= spread


def test_link(proofs: Proofs) -> None:
    """One peer measures, another changes the tempo. The sessions' beats are the peer's within 5 ms."""
    found = measured("link")
    for name in ("first", "second"):
        is_near(found, name, 5.0, 5.0)
    assert abs(found["quantised"]) <= 1.0
    places = [float(bar) for bar in re.findall(r"applied at sample \d+, bar ([\d.]+), 13[23]", found["example"])]
    assert len(places) == 2, found["example"]
    # Told with the frames that follow: not before the line, and soon after it.
    assert all(0 <= place % 0.5 < 0.3 for place in places), places
    compared = "beat and tempo of frames against the peer's when they leave: within 5 ms; a gain on the bar's sample"
    for package in ("LinkPython-extern", "aalink"):
        proofs.tell(Proof(package, compared, version(package), not_run="Live itself: no Linux version"))


def test_midi_clock(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock through JACK's ports: its ticks come up to two periods late, and the beats with them."""
    with jack_server(monkeypatch, period=256):
        found = measured("midi")
    for name in ("first", "second"):
        is_near(found, name, 15.0, 6.0)
    assert abs(found["quantised"]) <= 1.0
    compared = "beat and tempo of frames against the clock that is sent through JACK: within 15 ms (two periods)"
    reason = "ALSA: no sequencer on this machine" if not Path("/dev/snd/seq").exists() else "ALSA"
    proofs.tell(Proof("python-rtmidi", compared, version("python-rtmidi"), not_run=reason))
