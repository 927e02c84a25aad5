"""The two backends of the built-in model read one weights file and agree."""

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
