"""Training on a real (small) folder: it learns, it resumes exactly, and bad recordings are named and left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from safa_stream.errors import TrainingDataError
from safa_stream.models.builtin.features import BANDS, FOLD, TOKEN_FEATURES
from safa_stream.models.builtin.hints import HintNetwork
from safa_stream.models.builtin.networks import NetworkConfig
from safa_stream.training.prepare import Prepared, load_prepared, prepare, save_prepared
from safa_stream.training.trainer import Trainer, TrainingConfig
from safa_stream.training.vocoder import DETAIL, Lesson, detail

RATE = 48_000
TINY = NetworkConfig("dit", 16, width=32, depth=1, heads=2, condition_size=16)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    draw = np.random.default_rng(0)
    for number in range(4):
        noise = draw.normal(0, 0.1, (RATE * 9, 2))
        write(root / "hiss" / f"white {number}.wav", noise)
        write(root / "hum" / f"low hum {number}.wav", np.cumsum(noise, 0) * 0.01)
    write(root / "hum" / "mono at 8 kHz.wav", draw.normal(0, 0.1, 8000 * 8), 8000)
    write(root / "hum" / "at 96 kHz.wav", draw.normal(0, 0.1, (96_000 * 8, 2)), 96_000)
    write(root / "bad" / "silent.wav", np.zeros((RATE * 5, 2)))
    write(root / "bad" / "empty.wav", np.zeros((0, 2)))
    (root / "bad" / "corrupt.flac").write_bytes(b"fLaC this is not audio")
    return root


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Prepared:
    return prepare(folder, 16)


def test_bad_recordings_are_named_and_the_rest_is_used(prepared: Prepared) -> None:
    assert prepared.labels == ("hiss", "hum")
    reasons = "\n".join(prepared.skipped)
    assert "silent.wav is silent" in reasons
    assert "empty.wav is shorter than 1 s" in reasons
    assert "cannot read" in reasons and "corrupt.flac" in reasons
    assert len(prepared.captions) == 10


def test_every_class_is_split_by_recording(prepared: Prepared) -> None:
    for label in range(2):
        held = {p.recording for p in prepared.passages if p.label == label and p.held_out}
        used = {p.recording for p in prepared.passages if p.label == label and not p.held_out}
        assert held and used and not held & used


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="no recordings in"):
        prepare(tmp_path, 16)
    with pytest.raises(TrainingDataError, match="no such folder"):
        prepare(tmp_path / "missing", 16)
    write(tmp_path / "silent.wav", np.zeros(RATE * 3))
    with pytest.raises(TrainingDataError, match="nothing in .* can be used"):
        prepare(tmp_path, 16)


def test_the_feature_file_comes_back(prepared: Prepared, tmp_path: Path) -> None:
    path = tmp_path / "prepared.safetensors"
    save_prepared(prepared, path)
    again = load_prepared(path)
    assert again.labels == prepared.labels and again.passages == prepared.passages
    assert again.latents == pytest.approx(prepared.latents, abs=0.02)
    latent_map = again.latent_map
    assert latent_map.encode(latent_map.decode(again.latents)) == pytest.approx(again.latents, abs=1e-3)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingDataError, match="cannot read the feature file"):
        load_prepared(path)


def steps(trainer: Trainer, count: int) -> list[float]:
    return [trainer.advance() for _ in range(count)]


def test_training_lowers_the_loss(prepared: Prepared, tmp_path: Path) -> None:
    config = TrainingConfig(minutes=0, batch=8, length=48, learning_rate=5e-3)
    trainer = Trainer(prepared, TINY, config, tmp_path)
    losses = steps(trainer, 120)
    assert np.mean(losses[-15:]) < 0.8 * np.mean(losses[:15])


def test_resumed_training_equals_uninterrupted(prepared: Prepared, tmp_path: Path) -> None:
    config = TrainingConfig(minutes=0, batch=4, length=48)
    whole = Trainer(prepared, TINY, config, tmp_path / "whole")
    steps(whole, 6)
    first = Trainer(prepared, TINY, config, tmp_path / "parts")
    steps(first, 3)
    first.train(lambda row: None)
    second = Trainer(prepared, TINY, config, tmp_path / "parts")
    assert second.step == 3
    steps(second, 3)
    for name, value in whole.model.state_dict().items():
        assert torch.allclose(value, second.model.state_dict()[name], atol=1e-6), name


def test_a_damaged_state_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(TrainingDataError, match="cannot resume from"):
        Trainer(prepared, TINY, TrainingConfig(minutes=0), tmp_path)


def test_a_band_that_is_always_tonal_takes_the_usual_detail() -> None:
    frames = 40
    truth = np.zeros((frames, 4, FOLD, BANDS), np.float32)
    truth[:, 0, :, 7] = 1.0
    token = np.full((frames, TOKEN_FEATURES), -8.0, np.float32)
    silent = HintNetwork()
    for parameter in silent.parameters():
        torch.nn.init.zeros_(parameter)
    found = detail(silent, [[Lesson(token, truth, "hum")]], np.random.default_rng(0))
    assert np.isfinite(found).all()
    assert found[7] == np.float32(DETAIL)
