"""The Godot examples: version 3 plays and steers a real session without a screen; version 4's script is parsed."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soundfile
from gdtoolkit.parser import parser as godot4

from tests.browser.rig import Wire
from tests.clients.programs import program
from tests.clients.proofs import Proof, Proofs
from tests.clients.witness import FIRE, RAIN_AND_FIRE, opened, stretches, wait_for
from tests.examples.conftest import Served
from tests.server.test_serve import ROOT

HERE = Path(__file__).parent / "godot3"
SECONDS = 2
RATE = 48_000


def test_godot_3_plays_the_session(tmp_path: Path, served: Served, proofs: Proofs) -> None:
    """What the script received of one layer, and what came out of the Master bus, through a connection that was cut."""
    project = tmp_path / "project"
    shutil.copytree(HERE, project)
    shutil.copy(ROOT / "examples/godot3/safa_stream.gd", project)
    godot = program("godot3-server")
    wire = Wire(served.port)
    with opened(served.url, RAIN_AND_FIRE, layer=FIRE) as witness:
        variables = {
            "HOME": str(tmp_path),
            "LANG": "en",
            "SAFA_URL": f"ws://127.0.0.1:{wire.port}/ws",
            "SAFA_SESSION": witness.opened["session"],
            "SAFA_TOKEN": witness.opened["token"],
            "SAFA_LAYER": str(FIRE),
            "SAFA_FRAMES": str(SECONDS * RATE),
            "SAFA_OUT": str(tmp_path),
        }
        process = subprocess.Popen(
            [godot, "--path", str(project), "-s", "main.gd"],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            witness.wait_for_listeners(2)
            witness.play()
            wait_for(lambda: len(witness.frames) > RATE // 2)
            wire.cut(0.1)
            wait_for(lambda: len(witness.frames) >= SECONDS * RATE + RATE // 2)
            said, _ = process.communicate(timeout=60)
            mixed = witness.state()["layers"][FIRE]["gain"]
            own = witness.frames
        finally:
            process.kill()
            wire.close()
    # Its exit code says nothing: this version sometimes crashes while it goes down, after all was done.
    assert said.count("written") == 1, said
    assert "SCRIPT ERROR" not in said and "was freed" not in said, said
    assert "opened at 48000" in said and "refused refused" in said, said
    # One gain was said, however often it was asked for, and the session carried it out.
    assert mixed == -3.0 and said.count("applied") == 1
    received = np.fromfile(tmp_path / "received.f32", "<f4").reshape(-1, 2)
    assert len(received) >= SECONDS * RATE
    count = min(len(received), len(own))
    assert np.array_equal(received[:count], own[:count]), "exact"
    pushed, skips = (int(said.split(word)[1].split()[0]) for word in ("pushed ", "skips "))
    recorded, rate = soundfile.read(tmp_path / "recorded.wav", dtype="int16", always_2d=True)
    assert rate == RATE
    # Godot's recorder cuts off what lies between two of its steps. A layer by itself has not been through the limiter.
    wanted = np.clip(np.trunc(own[:pushed] * 32768), -32768, 32767).astype(np.int16)
    heard = stretches(recorded, wanted, gaps=skips)
    assert heard > SECONDS * RATE // 2
    about = subprocess.run([godot, "--version"], capture_output=True, text=True).stdout.strip()
    proofs.tell(
        Proof("Godot 3", "exact: what the script received of one layer, through a cut connection", about, count, 0)
    )
    proofs.tell(Proof("Godot 3", "exact in the recorder's 16 bits: its Master bus", about, heard, skips))


def test_godot_4s_script_can_be_read(proofs: Proofs) -> None:
    for name in ("safa_stream.gd", "place.gd"):
        tree = godot4.parse((ROOT / "examples/godot4" / name).read_text())
        assert tree.children
    proofs.tell(
        Proof(
            "Godot 4",
            "its scripts, read by gdtoolkit's parser",
            f"gdtoolkit {version('gdtoolkit')}",
            not_run="Debian 12 has no Godot 4; the same logic runs in Godot 3",
        )
    )
