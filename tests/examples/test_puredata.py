"""Pure Data: `[safa-stream~]` steers a session and plays it, through JACK and through an array. No screen is needed."""

from __future__ import annotations

import re
import time

import pytest

from tests.clients.programs import ROOT
from tests.clients.proofs import Proof, Proofs
from tests.clients.sound_servers import RATE, jack_connect, jack_recording, recorded
from tests.clients.studio import OUTPUTS, Studio, Take

PATCH = ROOT / "tests/clients/tools/puredata.pd"
FOLDER = ROOT / "examples/puredata"
#: What Pd says of a patch that it cannot make.
BROKEN = r"couldn't create|connection failed|already connected|unknown function|bad arguments|no method|can't"
ALONE = ("-nogui", "-stderr", "-path", str(FOLDER))


@pytest.fixture
def version(studio: Studio) -> str:
    found = re.search(r"Pd-([\d.]+)", studio.run("pd", "-version"))
    assert found
    return found[1]


def perform(studio: Studio) -> Take:
    """Run the patch between a listener and a recorder."""
    patch, file = studio.home / "puredata.pd", studio.home / f"puredata-{time.monotonic_ns()}.wav"
    patch.write_text(PATCH.read_text().replace("OSC_PORT", str(studio.osc_port)))
    jack = ("-jack", "-nojackconnect", "-jackname", "pd", "-r", str(RATE), "-inchannels", "2", "-outchannels", "4")
    with studio.start("pd", *ALONE, *jack, patch) as pd:
        try:
            for index, port in enumerate(OUTPUTS, start=1):
                jack_connect(port, f"pd:input_{index}")
            with jack_recording(file, [f"pd:output_{index}" for index in range(1, 5)]):
                # Longer than the patch takes to say what it has to say, and the reader to take its place.
                time.sleep(1.6)
                with studio.hearing() as heard:
                    time.sleep(2)
        finally:
            pd.terminate()
            said = pd.communicate(timeout=20)[0]
    return Take(recorded(file), heard, said)


def test_what_pd_puts_out_is_the_session(studio: Studio, proofs: Proofs, version: str) -> None:
    played = studio.undisturbed(lambda: perform(studio), lambda take: take.whole(0) and take.whole(2))
    if not played.whole(2):
        # Seen once in eight takes of an idle machine, cause unknown: the array was read with a gap. JACK's way has no
        # such excuse, and two gaps one after the other have none either.
        assert played.whole(0), "adc~, from JACK"
        played = studio.undisturbed(lambda: perform(studio), lambda take: take.whole(0) and take.whole(2))
    said, heard = played.said, played.heard
    assert not re.search(BROKEN, said), said[:2000]
    for line in (
        r"^JACK: ok /safa/master/gain \d+$",
        r"^JACK: event scene saved \d+ \d+ first\\ light ",
        r"^JACK: error /safa/layer/6/gain .*no\\ layer\\ 6",
        r"^JACK: error /safa/layer/0/gain .*loud",
        r"^JACK: pong 42 \d+ \d+$",
        r"^JACK: meter 0\.\d+ 0\.\d+ 0\.\d+ 0\.\d+$",
        r"^ARRAY: ok /safa/audio/ring 0$",
        r"^ARRAY: status \S+ \d+ \d+ 1 [\d.]+ 1$",
    ):
        assert re.search(line, said, re.MULTILINE), f"nothing like {line!r} in:\n{said[-3000:]}"
    layer = heard.state["layers"][0]
    assert (heard.state["master"]["gain"], layer["pan"], layer["prompts"]) == (-3, 0.5, "sea waves, birds:0.25")

    assert played.made > 1.8 * RATE
    for channel, how in ((0, "adc~, from JACK"), (2, "an array that the server writes")):
        equal = played.all_equal(how, channel)
        proofs.tell(Proof("Pure Data", f"Pd's output through {how}, exact", version, equal, 0))


def test_the_help_patch_can_be_made(studio: Studio) -> None:
    patch = FOLDER / "safa-stream~-help.pd"
    said = studio.run("pd", *ALONE, "-noaudio", "-open", patch, "-send", "pd quit", seconds=20)
    assert not re.search(BROKEN, said), said[:2000]
