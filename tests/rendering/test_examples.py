"""The examples of rendering, chunks and scenes run as they are, on the toy model."""

from __future__ import annotations

import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from safa_stream.rendering import metadata
from tests.rendering.audible import audible

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for place in ("safa_stream.models.load", "safa_stream.rendering.render.load"):
        monkeypatch.setattr(place, lambda name="builtin", backend="auto": audible())
    monkeypatch.chdir(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_render_to_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "render_to_file.py", "rain, ?blorp", "--seconds", "2", "--out", "a.flac")
    assert soundfile.info("a.flac").duration == 2.0
    told = capsys.readouterr().out
    assert "LUFS" in told and "?blorp" in told


def test_chunks_to_a_player(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    run(monkeypatch, "chunks_to_a_player.py", "rain", "--seconds", "2")
    samples = np.frombuffer(written.getvalue(), "<f4").reshape(-1, 2)
    assert samples.shape == (32_000, 2)
    assert 0.1 < np.abs(samples).max() <= 1


def test_scene_through_a_night(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "scene_through_a_night.py", "--seconds", "3")
    found = metadata.read(Path("night.flac"))
    assert found.seconds == 3.0 and len(found.origin.scene.changes) == 2
