"""SuperCollider: sclang steers a session with `SafaStream`, scsynth plays it through JACK and through a buffer.

    SAFA_DEVICE_BUFFER=0.06 pytest tests/examples/test_supercollider.py -s

measures the way from sclang to the ear with the short buffer between server and JACK that suits an idle machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import numpy as np
import pytest

from tests.clients.programs import ROOT, plain, program
from tests.clients.proofs import Proof, Proofs
from tests.clients.sound_servers import RATE, jack_connect, jack_recording, recorded
from tests.clients.studio import BUFFER, OUTPUTS, PERIOD, Studio, Take, busy

SCRIPT = ROOT / "tests/clients/tools/supercollider.scd"
#: As in the script: seconds between what the session writes and what is read close behind it; gain changes in dB.
LEAD, STEP = 0.04, 6.0
#: Seconds that a command may take from sclang to the ear, beside an audio block and what is kept ready on purpose.
MOST = 0.06
#: Seconds in which sclang has said all that it has to say, also on a busy machine.
PATIENCE = 90
#: Frames on either side of a change that tell how loud it was.
WINDOW = RATE // 50


@dataclass(frozen=True, slots=True)
class Performance(Take):
    """What scsynth put out, [N, 7]: the session through JACK, the buffer, the buffer close behind; the moments."""

    @property
    def moments(self) -> list[int]:
        """Frames at which sclang's own step, sent with each change, was heard."""
        steps = np.flatnonzero(np.diff(np.floor(self.out[:, 6])) > 0)
        return [int(at) + 1 for at in steps]

    @property
    def starts(self) -> list[int]:
        """Samples of the session's clock at which the changes of gain began."""
        numbers = re.findall(r"^OK /safa/layer/0/gain (\d+)$", self.said, re.MULTILINE)
        found = dict(re.findall(r"^APPLIED (\d+) (\d+)$", self.said, re.MULTILINE))
        return [int(found[number]) for number in numbers]

    def good(self) -> bool:
        """Whether both ways gave the whole session, and a short one was short."""
        with suppress(pytest.fail.Exception):
            return self.whole(0) and self.whole(2) and self.whole_way(4) < MOST
        return False

    def whole_way(self, channel: int) -> float:
        """Seconds from sclang to the sound, the median of all changes."""
        return median(self.delays(channel))

    def delays(self, channel: int) -> list[float]:
        """Seconds from each of sclang's changes until it was heard."""
        begins, _ = self.equal(channel)
        shift = begins - self.heard.start + self.heard.delay
        return [(start + shift - at) / RATE for start, at in zip(self.starts, self.moments, strict=True)]

    def steps(self, channel: int) -> list[float]:
        """How much louder or softer it was after each change, dB, where `delays` says that it was heard."""
        found = []
        for at, delay in zip(self.moments, self.delays(channel), strict=True):
            middle = at + round(delay * RATE)
            before, after = (
                float((self.out[part, channel : channel + 2].astype(np.float64) ** 2).mean())
                for part in (slice(middle - WINDOW, middle), slice(middle, middle + WINDOW))
            )
            found.append(10 * float(np.log10(after / before)))
        return found


def perform(studio: Studio) -> Performance:
    """Run the script between a listener and a recorder."""
    extensions = studio.home / ".local/share/SuperCollider/Extensions"
    extensions.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "examples/supercollider/SafaStream.sc", extensions)
    program("scsynth")
    file, said = studio.home / f"supercollider-{time.monotonic_ns()}.wav", list[str]()
    for name in ("go", "end"):
        (studio.home / name).unlink(missing_ok=True)
    nowhere = {"SC_JACK_DEFAULT_INPUTS": "", "SC_JACK_DEFAULT_OUTPUTS": ""}
    with studio.start("sclang", SCRIPT, studio.osc_port, studio.home, **nowhere) as sclang:
        # Nothing that it waits for may keep a test for ever.
        patience = threading.Timer(PATIENCE, sclang.kill)
        patience.start()
        try:
            until(sclang, "READY", said)
            for index, port in enumerate(OUTPUTS, start=1):
                jack_connect(port, f"SuperCollider:in_{index}")
            with jack_recording(file, [f"SuperCollider:out_{index}" for index in range(1, 8)]):
                with studio.hearing() as heard:
                    (studio.home / "go").touch()
                    until(sclang, "CHANGED", said)
            (studio.home / "end").touch()
            said.append(plain(sclang.communicate(timeout=30)[0]))
        finally:
            patience.cancel()
            sclang.kill()
    return Performance(recorded(file), heard, "".join(said))


def until(process: subprocess.Popen[str], word: str, said: list[str]) -> None:
    """Read what a program prints until it says a word."""
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if line.startswith(word):
            return
    pytest.fail(f"it ended before it said {word}:\n{''.join(said)[-3000:]}", pytrace=False)


@pytest.fixture(scope="module")
def version() -> str:
    said = subprocess.run([program("scsynth"), "-v"], capture_output=True, text=True).stdout
    found = re.search(r"scsynth ([\d.]+)", said)
    assert found, said
    return found[1]


def test_what_scsynth_puts_out_is_the_session(studio: Studio, proofs: Proofs, version: str) -> None:
    played = studio.undisturbed(lambda: perform(studio), Performance.good)
    # What an artist sees in the post window.
    assert "ERROR /safa/layer/5/gain field 'layer': there is no layer 5" in played.said
    for address in ("scene/save", "prompt", "layer/0/pan", "layer/0/low", "layer/0/mute"):
        assert re.search(rf"^OK /safa/{address} \d+$", played.said, re.MULTILINE), played.said
    state = played.heard.state
    layer = state["layers"][0]
    assert (layer["pan"], layer["low"], layer["mute"]) == (0.25, -3, False)
    assert (layer["prompts"], "evening, quiet" in state["scenes"]) == ("campfire", True)

    assert played.made > 1.8 * RATE and len(played.starts) == 8
    told = re.search(r"^END 1 true \d+ [\d.]+ 4$", played.said, re.MULTILINE)
    assert told, played.said[-2000:]
    for channel, how in ((0, "JACK inputs"), (2, "a buffer that the server writes")):
        equal = played.all_equal(how, channel)
        # Softer, louder, softer, at the places that the delays are measured to: rain is never even, so roughly.
        changes = played.steps(channel)
        assert abs(median(change * (-1) ** (index + 1) for index, change in enumerate(changes)) - STEP) < 4, changes
        proofs.tell(Proof("SuperCollider", f"scsynth's output through {how}, exact", version, equal, 0))

    # sclang's own step waits for scsynth's next block, so the whole way is at most one block longer than it measures.
    through_jack, through_buffer = (played.whole_way(channel) for channel in (0, 4))
    print(f"\nsclang to sound, median of 8: {1000 * through_buffer:.1f} ms through a buffer {LEAD} s behind,")
    print(f"{1000 * through_jack:.1f} ms through JACK, of which {BUFFER} s are kept ready; and at most a block")
    assert 0 < through_jack < BUFFER + MOST or busy()
    within = f"{1000 * MOST:.0f} ms and a block of {1000 * PERIOD / RATE:.0f} ms"
    told = f"gain from sclang to the sound, through a buffer {1000 * LEAD:.0f} ms behind: median of 8 within {within}"
    reason = "" if 0 < through_buffer < MOST else "a machine with more to do than it has cores was slower"
    assert not reason or busy(), f"{through_buffer} s"
    proofs.tell(Proof("SuperCollider", told, version, not_run=reason))
