"""More recordings of bells, struck by fluidsynth: what `safa-stream train` is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safa_stream.corpus.recordings import list_recordings, read_recording
from safa_stream.evaluation import spectra
from tests.clients.programs import ROOT, program

SOUNDFONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")


def struck(folder: Path, seed: int) -> Path:
    program("fluidsynth")
    if not SOUNDFONT.exists():
        pytest.fail("no soundfont: apt-get install --no-install-recommends timgm6mb-soundfont", pytrace=False)
    words = [str(ROOT / "examples/bells_from_a_soundfont.py"), str(SOUNDFONT), str(folder / "bells")]
    subprocess.run([sys.executable, *words, "--minutes", "2.8", "--seed", str(seed)], check=True, timeout=120)
    return folder


def test_bells_to_train_on(tmp_path: Path) -> None:
    first, again, other = (struck(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    found = list_recordings(first)
    assert len(found) == 7 and {recording.label for recording in found} == {"bells"}
    rates = []
    for recording in found:
        samples = read_recording(recording.path)
        assert samples.shape == (2, 24 * 48_000)
        rates.append(spectra.onset_rate(spectra.log_mel(samples)))
        same, unlike = (read_recording(folder / "bells" / recording.path.name) for folder in (again, other))
        assert np.array_equal(samples, same) and not np.array_equal(samples, unlike)
    assert 0.1 < float(np.mean(rates)) < 2.0
