"""The backends of the built-in model read one weights file and agree."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream.models import load
from tests.torch.estimates import estimate


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize(("frames", "guidance", "level"), [(160, 2.0, 0.9), (64, 1.0, 0.5), (32, 4.0, 0.2)])
def test_backends_agree_with_torch(backend: str, frames: int, guidance: float, level: float) -> None:
    graph, network = load("builtin", backend), load("builtin", "torch")
    expected = estimate(network, 3, frames, guidance, level)
    found = estimate(graph, 3, frames, guidance, level)
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()


def test_the_decoders_graph_and_its_network_agree() -> None:
    latents = 2 * np.random.default_rng(3).standard_normal((8, 40, 10)).astype(np.float32)
    graph, network = load("builtin", "onnx").decoder(), load("builtin", "torch").decoder()
    _, expected = network.decode(latents, 8, 8, 100, 5, network.start(5))
    _, found = graph.decode(latents, 8, 8, 100, 5, graph.start(5))
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)
