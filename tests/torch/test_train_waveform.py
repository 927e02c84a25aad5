"""`safa-stream train --network waveform`: from recordings to a checkpoint of Stable Audio's classes that plays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.random import default_rng

from safa_stream.cli import main
from safa_stream.models import load
from safa_stream.models.pretrained.checkpoint import Kind, read_component
from safa_stream.training.trainer import TrainingConfig
from safa_stream.training.waveform import autoencoder
from safa_stream.training.waveform.checkpoint import FRAME, RATE, VIEW, write_untrained
from safa_stream.training.waveform.loop import Optimiser, rates
from safa_stream.training.waveform.sounds import Sounds, draw_passages, read_sounds


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sounds, long enough for views to be held out."""
    root = tmp_path_factory.mktemp("recordings")
    for label, power in (("slow_rain", 0.0), ("kettle", 1.0)):
        (root / label).mkdir()
        noise = default_rng(0).normal(0, 0.1, (RATE * 28, 1))
        soundfile.write(root / label / "one.wav", noise * (1 - power) + np.sin(np.arange(len(noise)))[:, None], RATE)
    (root / "kettle" / "broken.wav").write_bytes(b"nothing")
    return root


def test_recordings_become_a_model_that_plays_and_goes_on(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "waves"
    words = ["train", str(recordings), "--out", str(out), "--network", "waveform", "--minutes", "0.001"]
    words += ["--batch", "2", "--threads", "1", "--licence", "CC0-1.0"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "left out" in told.err and "broken.wav" in told.err and str(out) in told.out
    model = load(str(out), "torch")
    assert model.facts.licence == "CC0-1.0" and model.facts.view_frames == VIEW
    assert (model.facts.samples_per_frame, model.facts.sample_rate, model.facts.channels) == (FRAME, RATE, 1)
    kept, changed = (out / name / "diffusion_pytorch_model.safetensors" for name in ("vae", "transformer"))
    before = kept.read_bytes(), changed.read_bytes()
    sound = tmp_path / "rain.wav"
    render = ["render", "slow rain", "--model", str(out), "--duration", "5", "--out", str(sound), "--steps", "2"]
    assert main([*render, "--backend", "torch", "--quiet"]) == 0
    samples, rate = soundfile.read(sound)
    assert rate == RATE and len(samples) == 5 * RATE and samples.std() > 1e-4

    assert main(words) == 0
    assert kept.read_bytes() == before[0] and changed.read_bytes() != before[1]
    assert set(json.loads((out / "training.json").read_text())) == {"autoencoder", "transformer"}
    assert "training the autoencoder" not in capsys.readouterr().err


def test_a_model_to_start_from_is_refused(recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(recordings), "--out", "x", "--network", "waveform", "--from", "builtin"]
    assert main(words) == 2
    assert "takes no --from" in capsys.readouterr().err


def test_passages_lie_inside_one_kept_recording(recordings: Path) -> None:
    sounds = read_sounds(recordings, lambda line: None)
    assert sounds.labels == ("kettle", "slow_rain")
    for held_out in (False, True):
        drawn = draw_passages(sounds, 40, 8, held_out, default_rng(0))
        assert {label for label, _ in drawn} == {0, 1}
        fitting = [p for p in sounds.passages if p.held_out == held_out]
        for label, at in drawn:
            assert any(p.label == label and p.start <= at.start and at.stop <= p.stop for p in fitting)


def test_the_autoencoder_learns(tmp_path: Path) -> None:
    """A few steps on one tone bring its spectrum nearer."""
    write_untrained(tmp_path, ("tone",), "CC0-1.0", seed=0)
    vae = read_component(tmp_path, Kind("vae", "AutoencoderOobleck")).load()
    tone = np.sin(np.arange(64 * FRAME) * 0.3).astype(np.float32).reshape(-1, FRAME) * 0.1
    sounds = Sounds(("tone",), tone, ())
    batch = torch.from_numpy(sounds.frames[: autoencoder.FRAMES].reshape(1, 1, -1))
    torch.manual_seed(0)
    before = float(autoencoder.loss_of(vae, batch).detach())
    optimiser = Optimiser(vae.requires_grad_(True), (), 2e-3)
    for _ in range(12):
        optimiser.descend(autoencoder.loss_of(vae, batch), 1.0)
    assert float(autoencoder.loss_of(vae, batch).detach()) < 0.7 * before


def test_spectra_that_are_alike_have_no_distance() -> None:
    real = torch.from_numpy(default_rng(0).normal(0, 0.1, (2, 8192)).astype(np.float32))
    assert float(autoencoder.spectral_distance(real, real)) == 0.0
    quiet, other = (float(autoencoder.spectral_distance(real * gain, real)) for gain in (0.5, 0.9))
    assert quiet > other > 0.0


def test_the_rate_warms_up_and_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("safa_stream.training.waveform.loop.time.monotonic", lambda: float(next(clock)))
    found = list(rates(10.0, 0.5))
    assert found[0] == pytest.approx(1 / 40) and max(found) == pytest.approx(1.0)
    assert found[-1] == pytest.approx(0.05) and found[450] == pytest.approx(0.496, abs=0.01)
    assert TrainingConfig().cooldown == 0.0 and next(rates(1.0, 0.0)) > 0
