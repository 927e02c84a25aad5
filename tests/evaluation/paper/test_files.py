"""Embedding networks from files: what they are given, what they give, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safa_stream.errors import UsageError
from safa_stream.evaluation.paper.files import PATCH, FileEmbedder, vggish_bands, vggish_patches
from tests.evaluation.paper.small_network import graph

RATE = 48_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (2, int(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("shape", [[15_600], [1, 15_600], ["batch", 15_600]])
def test_a_waveform_network_is_shown_windows_of_its_length(tmp_path: Path, shape: list[int | str]) -> None:
    net = FileEmbedder(graph(tmp_path / "net.onnx", shape))
    rows = net.embed(noise(4.0))
    assert rows.shape == (4, 3) and net.name == "net.onnx"
    # The power of 0.975 s at 16 kHz of half-band noise.
    assert rows[:, 2] == pytest.approx(np.full(4, rows[0, 2]), rel=0.1)
    assert (net.embed(noise(4.0)) == rows).all()


def test_a_network_of_any_length_is_shown_about_a_second(tmp_path: Path) -> None:
    net = FileEmbedder(graph(tmp_path / "net.onnx", ["batch", "samples"]))
    assert net.embed(noise(2.0)).shape == (2, 3)


@pytest.mark.parametrize("shape", [[1, 1, 96, 64], ["n", 96, 64], ["n", 96, 64, 1]])
def test_a_patch_network_is_shown_vggish_patches(tmp_path: Path, shape: list[int | str]) -> None:
    net = FileEmbedder(graph(tmp_path / "vggish.onnx", shape))
    rows = net.embed(noise(3.0))
    assert rows.shape == (3, 3)
    assert (rows[:, 1] > rows[:, 0]).all() and (rows[:, 0] > np.log(0.01)).all()


def test_a_short_sound_fills_one_window(tmp_path: Path) -> None:
    for name, shape in (("a.onnx", [15_600]), ("b.onnx", [1, 96, 64])):
        assert len(FileEmbedder(graph(tmp_path / name, shape)).embed(noise(0.2))) == 1


def test_patches_are_vggishs() -> None:
    bands = vggish_bands()
    assert bands.shape == (257, 64) and (bands[0] == 0).all()
    hz = np.fft.rfftfreq(512, 1 / 16_000)
    assert hz[bands.sum(1) > 0].min() >= 125 and hz[bands.sum(1) > 0].max() <= 7500
    silence = vggish_patches(np.zeros(16_000 * 2, np.float32))
    assert silence.shape == (2, PATCH, 64) and silence == pytest.approx(np.log(0.01))
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    loudest = int(vggish_patches(tone)[0].mean(0).argmax())
    assert abs(hz[bands[:, loudest].argmax()] - 1000) < 50


def test_what_is_no_such_network_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no embedding network at"):
        FileEmbedder(tmp_path / "none.onnx")
    for name, message in (
        ("a.onnx", "is not an ONNX network"),
        ("a.tflite", "is not a .tflite network|pip install ai-edge-litert"),
        ("a.bin", "neither .onnx nor .tflite"),
    ):
        (tmp_path / name).write_bytes(b"not a network")
        with pytest.raises(UsageError, match=message):
            FileEmbedder(tmp_path / name)
    with pytest.raises(UsageError, match="takes 2 inputs"):
        FileEmbedder(graph(tmp_path / "two.onnx", [15_600], inputs=2))
    with pytest.raises(UsageError, match="neither a 16 kHz waveform nor patches"):
        FileEmbedder(graph(tmp_path / "image.onnx", [1, 3, 224, 224]))
