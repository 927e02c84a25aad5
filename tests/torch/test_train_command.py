"""`safa-stream train` from a folder of recordings to a model that plays: fine-tuned, interrupted, from nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from safa_stream.cli import main
from safa_stream.models import load
from safa_stream.training import command, trainer
from safa_stream.training.trainer import Trainer
from tests.torch.estimates import estimate

RATE = 48_000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sounds, three short recordings each; only one of them is a sound of the built-in model."""
    root = tmp_path_factory.mktemp("recordings")
    draw = np.random.default_rng(0)
    for number in range(3):
        noise = draw.normal(0, 0.1, (RATE * 3, 2))
        for label, samples in (("rain", noise), ("kettle", np.cumsum(noise, 0) * 0.02)):
            (root / label).mkdir(exist_ok=True)
            soundfile.write(root / label / f"quiet {label} {number}.wav", samples, RATE)
    return root


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Words are learned in a few steps, checks look at one noise level; what `--threads` sets is put back."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(command, "train_text", functools.partial(command.train_text, steps=20))
    monkeypatch.setattr(trainer, "CHECK_LEVELS", (0.5,))
    yield
    torch.set_num_threads(threads)


def plays(folder: Path, out: Path) -> None:
    assert load(str(folder)).facts.sounds == ("kettle", "rain")
    assert main(["render", "rain", "--model", str(folder), "--duration", "2", "--out", str(out), "--quiet"]) == 0
    samples, rate = soundfile.read(out)
    assert samples.shape == (2 * RATE, 2) and rate == RATE
    assert np.isfinite(samples).all() and samples.std() > 1e-4


def test_an_interrupted_fine_tuning_goes_on_and_ends_in_a_model(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    words = ["train", str(recordings), "--out", str(folder), "--from", "builtin", "--minutes", "0.02"]
    words += ["--batch", "2", "--threads", "1"]
    advance = Trainer.advance

    def stop_after_two(self: Trainer) -> float:
        if self.step == 2:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", stop_after_two)
    assert main([*words[:7], "9", *words[8:]]) == 130
    assert torch.get_num_threads() == 1
    assert capsys.readouterr().err.splitlines()[-1] == "safa-stream: interrupted"
    assert not (folder / "config.json").exists()

    monkeypatch.setattr(Trainer, "advance", advance)
    assert main(words) == 0
    told = capsys.readouterr()
    assert "from step 2" in told.err and str(folder) in told.out
    curve = [json.loads(line)["step"] for line in (folder / "run/dit/curve.jsonl").read_text().splitlines()]
    assert curve[0] == 2 < curve[1]
    assert json.loads((folder / "config.json").read_text())["training"]["steps"] == curve[1]
    assert (folder / "samples.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (folder / "denoiser.onnx").stat().st_size < 1_000_000, "the graph must refer to the weights, not hold them"
    assert (folder / "decoder.onnx").stat().st_size < 2_000_000
    expected = estimate(load(str(folder), "torch"), 5, 64, 2.0, 0.6)
    assert np.abs(estimate(load(str(folder)), 5, 64, 2.0, 0.6) - expected).max() < 2e-4 * np.abs(expected).max()
    plays(folder, tmp_path / "rain.wav")


def test_a_model_is_trained_from_nothing(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "UNET_WIDTH", 32)
    folder = tmp_path / "fresh"
    words = ["train", str(recordings), "--out", str(folder), "--network", "unet", "--minutes", "0.02", "--quiet"]
    assert main([*words, "--batch", "2", "--name", "small", "--licence", "CC0-1.0"]) == 0
    assert capsys.readouterr().err == ""
    facts = load(str(folder)).facts
    assert (facts.name, facts.licence) == ("small", "CC0-1.0")
    plays(folder, tmp_path / "rain.wav")


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--device", "abacus"), "abacus"), (("--from", "builtin", "--network", "unet"), "--network dit")],
)
def test_what_cannot_be_is_said_before_anything_is_done(
    words: tuple[str, ...], said: str, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(recordings), "--out", str(tmp_path / "model"), *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", ["missing", "empty", "broken", "file", "short"])
def test_a_folder_that_cannot_be_used_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / kind
    if kind in ("empty", "broken", "short"):
        folder.mkdir()
    if kind == "broken":
        for number in range(3):
            (folder / f"{number}.wav").write_bytes(b"no sound at all")
    if kind == "short":
        soundfile.write(folder / "hiss.wav", np.random.default_rng(0).normal(0, 0.1, 2 * RATE), RATE)
    if kind == "file":
        folder.write_bytes(b"")
    assert main(["train", str(folder), "--out", str(tmp_path / "model"), "--minutes", "0.01", "--quiet"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("safa-stream: ") and str(folder) in told and told.count("\n") == 1
    assert not (tmp_path / "model").exists()
