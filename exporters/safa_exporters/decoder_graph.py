"""The built-in model's decoder as a graph, without the oscillators: they carry state and stay outside."""

from __future__ import annotations

import numpy as np

from safa_exporters.graph import Axis, Graph
from safa_stream.models.builtin.decoder import HALO, INPUTS
from safa_stream.models.builtin.decoder_network import DecoderNetwork
from safa_stream.models.builtin.excitation import excitation
from safa_stream.models.builtin.features import FOLD, SAMPLES_PER_TOKEN
from safa_stream.models.builtin.weights import Weights

#: Tokens of the example.
LENGTH = 40


def decoder_graph(weights: Weights) -> Graph:
    """The decoder with a free number of tokens, always in single precision."""
    draw, noise = np.random.default_rng(0), excitation(0, 0, LENGTH)
    latents = draw.standard_normal((LENGTH, len(weights.tensors["latent.backward"]))).astype(np.float32)
    values = (latents, noise.steady, noise.heights, noise.detail)
    multiples = (1, SAMPLES_PER_TOKEN, 1, FOLD)
    dimensions = (0, 1, 0, 0)
    return Graph(
        name="decoder",
        module=lambda: DecoderNetwork(weights).eval(),
        inputs=dict(zip(INPUTS, values, strict=True)),
        output="frames",
        axes={
            name: {dimension: Axis("tokens", 2 * HALO + 1, 1 << 16, multiple)}
            for name, dimension, multiple in zip(INPUTS, dimensions, multiples, strict=True)
        },
    )
