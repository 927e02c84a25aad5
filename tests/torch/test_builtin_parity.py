"""The two backends of the built-in model read one weights file and agree; the graph can be made again from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from safa_exporters.onnx import export_denoiser
from safa_stream.models import load
from safa_stream.models.builtin.weights import GRAPH_NAME, SHIPPED, load_weights
from safa_stream.models.interface import Model
from safa_stream.scene import parse_prompts


def estimate(model: Model, seed: int, frames: int, guidance: float, level: float) -> np.ndarray:
    draw = np.random.default_rng(seed)
    facts = model.facts
    latents = draw.normal(size=(2, facts.latent_channels, frames, facts.latent_bins)).astype(np.float32)
    encoded = model.encode(parse_prompts("rain, birds:0.5"), (), seed)
    told = type(encoded.conditioning)(
        {n: model.from_numpy(np.repeat(model.to_numpy(t), 2, 0)) for n, t in encoded.conditioning.tensors.items()}
    )
    other = type(encoded.negative)(
        {n: model.from_numpy(np.repeat(model.to_numpy(t), 2, 0)) for n, t in encoded.negative.tensors.items()}
    )
    levels = model.from_numpy(np.array([level, level / 2]))
    scale = model.from_numpy(np.array([guidance, 1.0]))
    return np.asarray(model.to_numpy(model.denoise(model.from_numpy(latents), levels, told, other, scale)))


@pytest.mark.parametrize(("frames", "guidance", "level"), [(160, 2.0, 0.9), (64, 1.0, 0.5), (32, 4.0, 0.2)])
def test_onnx_and_torch_agree(frames: int, guidance: float, level: float) -> None:
    graph, network = load("builtin", "cpu"), load("builtin", "torch")
    expected = estimate(network, 3, frames, guidance, level)
    found = estimate(graph, 3, frames, guidance, level)
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()


def test_the_graph_is_made_again_from_the_weights(tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(SHIPPED, copy)
    (copy / GRAPH_NAME).write_bytes(b"")
    path = export_denoiser(load_weights(copy))
    assert path.stat().st_size < 1_000_000, "the graph must refer to the weights, not hold them"
    again, shipped = load(str(copy)), load("builtin")
    assert estimate(again, 5, 64, 2.0, 0.6) == pytest.approx(estimate(shipped, 5, 64, 2.0, 0.6), abs=1e-6)
