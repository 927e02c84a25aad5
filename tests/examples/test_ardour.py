"""Ardour without a window: a session from the template records the sound, and its strips and markers steer it."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from safa_stream.types import FloatArray
from tests.clients.programs import ROOT, listening, program
from tests.clients.proofs import Proof, Proofs
from tests.clients.sound_servers import RATE, jack_connect
from tests.clients.studio import OUTPUTS, Studio, Take, open_studio

SCRIPTS, TOOLS = ROOT / "examples/ardour", ROOT / "tests/clients/tools"
#: Where Debian keeps Ardour; its programs want to be told.
LIBRARY = Path("/usr/lib/ardour7")
VARIABLES = {
    "LD_LIBRARY_PATH": str(LIBRARY),
    "ARDOUR_DLL_PATH": str(LIBRARY),
    "ARDOUR_DATA_PATH": "/usr/share/ardour7",
    "ARDOUR_CONFIG_PATH": "/etc/ardour7",
    "ARDOUR_SURFACES_PATH": str(LIBRARY / "surfaces"),
    "VAMP_PATH": str(LIBRARY / "vamp"),
}
#: The port of Ardour's own OSC surface.
PORT = 3819


#: Servers that are tried, for JACK's sometimes loses Ardour while it loads a session.
SERVERS = 4


class JackLost(Exception):
    """JACK 1.9.21 reads requests of a client wrongly ("Unknown request 0") whose threads ask at the same time."""


def lua(studio: Studio, script: str, session: Path, ours: Path) -> str:
    """What one of our scripts does in Ardour's interpreter."""
    variables = {"SAFA_SESSION": str(session), "SAFA_SCRIPT": str(ours)}
    with studio.start("ardour7-lua", TOOLS / script, **variables) as ardour:
        try:
            return ardour.communicate(timeout=90)[0]
        finally:
            ardour.kill()


def with_surface(session: Path) -> None:
    """Switch Ardour's OSC surface on, as a tick in its preferences does."""
    file = session / "safa.ardour"
    text, found = re.subn(r'(<Protocol name="Open Sound Control \(OSC\)"[^>]*?active=")0', r"\g<1>1", file.read_text())
    assert found == 1, "the session file lists its surfaces"
    file.write_text(text)


@contextmanager
def hardour(studio: Studio, session: Path) -> Iterator[None]:
    """Ardour without a window, with a session whose track has its inputs."""
    found = sorted(LIBRARY.glob("hardour-*"))
    assert found, "hardour is missing: apt-get install --no-install-recommends ardour"
    with studio.start(str(found[0]), "-c", "hardour", "-d", session, "safa", **VARIABLES) as process:
        try:
            listening(process, PORT)
            # Its surface is there some time before the session is, and nothing tells when that is.
            time.sleep(4)
            listed = subprocess.run(["jack_lsp"], capture_output=True, text=True, timeout=20).stdout
            if "hardour:safa-stream/audio_in 2" not in listed:
                raise JackLost
            # The template connects them where there is JACK when it runs, which is not so here.
            for channel, port in enumerate(OUTPUTS, start=1):
                jack_connect(port, f"hardour:safa-stream/audio_in {channel}")
            yield
        finally:
            process.terminate()
            print(process.communicate(timeout=30)[0])


def record(studio: Studio, session: Path) -> Take:
    """Make a session from the template, and roll it."""
    said = lua(studio, "ardour_new.lua", session, SCRIPTS / "safa_session.lua")
    with_surface(session)

    def ask(address: str, *values: object) -> None:
        studio.run("oscsend", "127.0.0.1", PORT, address, *values)

    with hardour(studio, session):
        # Arming takes a moment, and the template's may not be in what was saved at once.
        ask("/strip/recenable", "ii", 1, 1)
        ask("/rec_enable_toggle")
        ask("/transport_play")
        time.sleep(0.5)
        with studio.hearing() as heard:
            time.sleep(1)
            ask("/add_marker", "s", "safa: wind in trees")
            time.sleep(1.2)
        ask("/transport_stop")
        time.sleep(0.5)
        ask("/save_state")
        saved(session)
    return Take(recorded_take(session), heard, said)


@pytest.fixture
def version() -> str:
    program("ardour7-lua")
    found = re.search(r"hardour-([\d.]+)", " ".join(map(str, LIBRARY.glob("hardour-*"))))
    assert found
    return found[1]


def test_a_take_is_the_session_and_strips_and_markers_steer(tmp_path: Path, proofs: Proofs, version: str) -> None:
    for number in range(SERVERS):
        home = tmp_path / str(number)
        home.mkdir()
        # A studio of its own: who comes after JACK has lost somebody would be lost as well.
        with open_studio(home) as studio, contextlib.suppress(JackLost):
            check(studio, proofs, version)
            return
    pytest.fail(f"JACK lost Ardour {SERVERS} times")


def check(studio: Studio, proofs: Proofs, version: str) -> None:
    sessions = (studio.home / f"ardour{number}" for number in itertools.count())
    used: list[Path] = []

    def perform() -> Take:
        used.append(next(sessions))
        return record(studio, used[-1])

    take = studio.undisturbed(perform, lambda take: take.whole(0))
    assert "SCRIPT SessionInit safa-stream" in take.said, take.said
    assert take.made > 2 * RATE
    how = "a take of the template's track"
    proofs.tell(Proof("Ardour", f"{how}, exact", version, take.all_equal(how), 0))

    ours = studio.home / "safa_steer.lua"
    ours.write_text((SCRIPTS / "safa_steer.lua").read_text().replace(":9600", f":{studio.osc_port}"))
    said = lua(studio, "ardour_steer.lua", used[-1], ours)
    assert "SCRIPT EditorHook safa-stream: faders and markers" in said, said
    with studio.hearing() as heard:
        pass
    layer = heard.state["layers"][0]
    assert (layer["gain"], layer["pan"]) == (pytest.approx(-6.02, abs=0.01), pytest.approx(0.5))
    assert layer["prompts"] == "wind in trees"
    window = "the hook in Ardour's window: there is no screen; Ardour's interpreter ran the script"
    steering = "a fader, a panner and a marker set gain, pan and words of a layer"
    proofs.tell(Proof("Ardour", steering, version, not_run=window))


def saved(session: Path, seconds: float = 20) -> None:
    """Wait until Ardour has written its session with the marker."""
    end = time.monotonic() + seconds
    while "safa: wind in trees" not in (session / "safa.ardour").read_text():
        assert time.monotonic() < end, "Ardour did not save the session with its marker"
        time.sleep(0.1)


def recorded_take(session: Path) -> FloatArray:
    """[N, 2] float32: Ardour keeps a file a channel."""
    files = sorted((session / "interchange").glob("*/audiofiles/*.wav"))
    assert len(files) == 2, files
    left, right = (soundfile.read(file, dtype="float32")[0] for file in files)
    return np.stack([left, right], axis=1)
