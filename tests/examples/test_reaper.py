"""REAPER cannot be run here: its pattern file is read, and its script runs with stand-ins for REAPER's functions."""

from __future__ import annotations

import re
import sys

import pytest

from safa_server.osc_packet import Argument
from tests.clients.addresses import refused
from tests.clients.programs import ROOT
from tests.clients.proofs import Proof, Proofs
from tests.clients.studio import Studio

FOLDER = ROOT / "examples/reaper"
STAND_IN = ROOT / "tests/clients/tools/reaper_python.py"
NOT_RUN = "REAPER itself: it is no free software"
#: What REAPER sends for a flag of a pattern; volumes as f are dB.
SENT: dict[str, tuple[Argument, ...]] = {"f": (-12.5, 12.0), "b": (0.0, 1.0), "s": ("rain, birds:0.4",)}
ACTIONS = {"TRACK_VOLUME", "TRACK_MUTE", "TRACK_SOLO", "LAST_MARKER_NAME", "LAST_REGION_NAME"}


def test_the_pattern_file_says_what_the_server_takes(proofs: Proofs) -> None:
    tracks, patterns = 0, 0
    for line in (FOLDER / "safa-stream.ReaperOSC").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, *rest = line.split()
        if name.startswith("DEVICE_") and name.endswith("_COUNT"):
            tracks = int(rest[0]) if name == "DEVICE_TRACK_COUNT" else tracks
            continue
        if name.endswith("_FOLLOWS"):
            assert rest[0] in ("REAPER", "DEVICE", "LAST_TOUCHED", "MIXER"), line
            continue
        assert name in ACTIONS and rest, line
        for pattern in rest:
            flag, address = pattern[0], pattern[1:]
            for track in range(1, tracks + 1) if "@" in address else (0,):
                for value in SENT[flag]:
                    reason = refused(address.replace("@", str(track)), [value])
                    assert reason is None, f"{line}: {reason}"
            patterns += 1
    assert (tracks, patterns) == (7, len(ACTIONS))
    proofs.tell(Proof("REAPER", "pattern file: the server takes every message", "", not_run=NOT_RUN))


def test_the_script_steers_a_real_server(studio: Studio, proofs: Proofs) -> None:
    script = studio.home / "safa_stream.py"
    script.write_text((FOLDER / "safa_stream.py").read_text().replace("9600", str(studio.osc_port)))
    assert studio.run(sys.executable, STAND_IN, script, 15) == ""
    with studio.hearing() as heard:
        pass
    layer = heard.state["layers"][0]
    assert (layer["gain"], layer["pan"], layer["mute"]) == (pytest.approx(-6.02, abs=0.01), -0.5, False)
    assert layer["prompts"] == "distant thunder"
    steering = "ReaScript: volume, pan, mute and a marker steer a layer of a real server"
    proofs.tell(Proof("REAPER", steering, "", not_run=f"{NOT_RUN}; its functions were stood in for"))


def test_the_script_uses_nothing_but_what_reaper_gives() -> None:
    text = (FOLDER / "safa_stream.py").read_text()
    used = set(re.findall(r"RPR_\w+", text))
    assert used == set(re.findall(r"^def (RPR_\w+)", STAND_IN.read_text(), re.MULTILINE))
