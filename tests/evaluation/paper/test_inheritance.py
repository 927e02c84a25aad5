"""Connectivity of autoencoders alone: real classes with small random weights, and maps that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from safa_stream.cli import main
from safa_stream.evaluation.paper import inheritance
from tests.torch.images.pictures import VAE
from tests.torch.waveform_models import OOBLECK, RATE, made


class Colours(torch.nn.Module):
    """An autoencoder whose latents are squares' mean colours turned and shifted: one linear map leads back."""

    config = type("Config", (), {"block_out_channels": (8, 16)})

    def encode(self, pixels: torch.Tensor) -> Any:
        mean = torch.nn.functional.avg_pool2d(pixels, 2)
        turned = torch.einsum("dc,bchw->bdhw", torch.tensor([[1.0, 2, 0], [0, 1, 1], [1, 0, 1], [0, 0, 2]]), mean) + 3
        latent = type("Latent", (), {"mean": turned})
        return type("Encoded", (), {"latent_dist": latent})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(draw.integers(0, 256, (21, 34, 3)).astype(np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


def test_latents_that_are_colours_are_mapped_back_exactly(pictures: Path) -> None:
    said: list[str] = []
    pairs = list(inheritance.picture_pairs(Colours(), pictures, said.append))
    assert len(pairs) == 5 and pairs[0][0].shape == (10 * 17, 4) and pairs[0][1].shape == (170, 3)
    assert "broken.png" in said[-1]
    found = inheritance.Fitted.of(pairs, np.arange(5) == 4)
    assert found.error() == pytest.approx(0.0, abs=1e-9)


def test_an_autoencoder_of_pictures(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    made("AutoencoderKL", latent_channels=4, **VAE).save_pretrained(tmp_path / "vae")
    (tmp_path / "model_index.json").write_text("{}")
    words = ["eval", "connectivity", "--autoencoder", str(tmp_path), "--examples", str(pictures), "--json", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "page")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["class"] == "AutoencoderKL" and told["held_out"] == 1 and len(told["error_by_colour"]) == 3
    assert "held out" in (tmp_path / "page" / "connectivity-colour.md").read_text()
    assert main(words[:4]) == 2 and "--examples go together" in capsys.readouterr().err


def test_an_autoencoder_of_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made("AutoencoderOobleck", **OOBLECK, sampling_rate=RATE).save_pretrained(tmp_path / "sound")
    for number in range(2):
        noise = np.random.default_rng(number).normal(0, 0.1, RATE * 3)
        soundfile.write(tmp_path / f"{number}.wav", noise, RATE)
    words = ["eval", "connectivity", "--autoencoder", str(tmp_path / "sound"), "--examples", str(tmp_path)]
    assert main([*words, "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert 2 * told["channels"] == OOBLECK["encoder_hidden_size"] and told["examples"] == 2
    assert 40 < len(told["error_by_band"]) <= 64 and told["channelwise_error"] > 0


def test_other_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    words = ["eval", "connectivity", "--autoencoder", str(tmp_path), "--examples", str(tmp_path)]
    assert main(words) == 1
    assert "UNet2DModel" in capsys.readouterr().err


def test_a_log_mel_has_a_column_every_ten_milliseconds() -> None:
    mel = inheritance.log_mel_of(np.random.default_rng(0).normal(size=(1, 8000)).astype(np.float32), 8000)
    assert mel.shape[0] == 100 and mel.shape[1] < 64
    assert inheritance.framed(mel, 25).shape == (25, mel.shape[1])
