"""Csound: opcodes steer a session from the score, and its sound comes in through JACK."""

from __future__ import annotations

import re
import subprocess
import time

from tests.clients.programs import ROOT, free_port, plain
from tests.clients.proofs import Proof, Proofs
from tests.clients.sound_servers import RATE, jack_connect, jack_recording, recorded
from tests.clients.studio import OUTPUTS, Studio, Take

SCORE = ROOT / "examples/csound/rain.csd"


def perform(studio: Studio) -> Take:
    """Run the example between a listener and a recorder."""
    file = studio.home / f"csound-{time.monotonic_ns()}.wav"
    macros = f"--omacro:SERVER={studio.osc_port}", f"--omacro:LISTEN={free_port()}"
    with studio.start("csound", *macros, SCORE) as csound:
        try:
            for index, port in enumerate(OUTPUTS, start=1):
                jack_connect(port, f"csound:input{index}")
            with jack_recording(file, ("csound:output1", "csound:output2")), studio.hearing() as heard:
                time.sleep(2.5)
        finally:
            csound.terminate()
            try:
                said = plain(csound.communicate(timeout=5)[0])
            except subprocess.TimeoutExpired:
                # A Csound that waits for JACK hears no signal.
                csound.kill()
                said = plain(csound.communicate()[0])
    return Take(recorded(file), heard, said)


def test_what_csound_puts_out_is_the_session(studio: Studio, proofs: Proofs) -> None:
    played = studio.undisturbed(lambda: perform(studio), lambda take: take.whole(0))
    said, heard = played.said, played.heard
    for line in (r"^at \d+ s, \d+\.\d s ready, 1 layers, peak 0\.\d+", r"^safa-stream: .*no layer 6"):
        assert re.search(line, said, re.MULTILINE), f"nothing like {line!r} in:\n{said[-3000:]}"
    assert "INIT ERROR" not in said and "PERF ERROR" not in said, said[-3000:]
    version = re.search(r"Csound version ([\d.]+)", said)
    layer = heard.state["layers"][0]
    assert (layer["prompts"], layer["pan"]) == ("wind in trees, river:0.25", 0.25)
    assert -9.01 < layer["gain"] < -0.5 and "by the river" in heard.state["scenes"]

    assert version is not None
    assert played.made > 2 * RATE
    how = "Csound's output through JACK inputs"
    proofs.tell(Proof("Csound", f"{how}, exact", version[1], played.all_equal(how), 0))
