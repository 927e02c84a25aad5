"""The built-in model, or one that `safa-stream train` made, as graphs to export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from safa_exporters.graph import About, Axis, Graph, Part, Sampling
from safa_stream.models.builtin.features import SAMPLE_RATE
from safa_stream.models.builtin.network import INPUTS
from safa_stream.models.builtin.networks import NetworkConfig, build
from safa_stream.models.builtin.runtime import BuiltinModel
from safa_stream.models.builtin.weights import Weights
from safa_stream.noise import noise
from safa_stream.scene import WeightedPrompt
from safa_stream.solvers import step
from safa_stream.types import FloatArray

#: What the number of frames must be a multiple of: a patch, or what the U-Net halves twice.
TIME_UNITS = {"dit": 2, "unet": 4}


@dataclass(frozen=True, slots=True)
class BuiltinSource:
    """A model directory of the built-in kind."""

    weights: Weights

    @property
    def about(self) -> About:
        """What the configuration says of the model."""
        config = self.weights.config
        return About("safa-builtin", config["name"], config["licence"], self.weights.digest, SAMPLE_RATE)

    def graphs(self) -> Sequence[Graph]:
        """The denoiser."""
        return (denoiser_graph(self.weights),)

    def sample(self, parts: Mapping[str, Part], sampling: Sampling) -> FloatArray:
        """Sound [rows, 2, N] of one view a row, its prompts the model's sounds in turn."""
        denoiser = parts["denoiser"]
        model = BuiltinModel(self.weights, network=lambda *values: denoiser(dict(zip(INPUTS, values, strict=True))))
        return np.stack([_view(model, sampling, row) for row in range(sampling.rows)])


def denoiser_graph(weights: Weights) -> Graph:
    """The denoiser with free batch and time."""
    config = NetworkConfig(**weights.config["network"])
    batch, time = Axis("batch", 1, 64), Axis("time", 4, 2048, TIME_UNITS[config.kind])
    rows, length = 2, 160
    draw = np.random.default_rng(0)
    inputs: dict[str, Any] = {
        "noisy": draw.standard_normal((rows, length, config.latent_size)),
        "level": np.array([0.3, 0.8]),
        "condition": 0.3 * draw.standard_normal((rows, config.condition_size)),
        "context": 0.5 * draw.standard_normal((rows, length, config.latent_size)),
        "known": np.ones((rows, length)),
    }
    return Graph(
        name="denoiser",
        module=lambda: network(weights),
        inputs={name: np.asarray(value, np.float32) for name, value in inputs.items()},
        output="clean",
        axes={
            name: {0: batch, 1: time} if inputs[name].ndim == 3 or name == "known" else {0: batch} for name in INPUTS
        },
    )


def network(weights: Weights) -> torch.nn.Module:
    """The denoiser in torch, single precision, with its weights."""
    module = build(NetworkConfig(**weights.config["network"])).eval()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.under("network.").items()})
    return module


def _view(model: BuiltinModel, sampling: Sampling, row: int) -> FloatArray:
    """One view's sound [2, N], made as every view is: guided, step by step, then decoded."""
    facts = model.facts
    frames = sampling.frames or facts.view_frames
    prompt = facts.sounds[(sampling.seed + row) % len(facts.sounds)]
    told = model.encode((WeightedPrompt(prompt),), (), sampling.seed + row)
    table = model.solver(sampling.steps)
    drawn = noise(sampling.seed + row, "export", 0, frames, facts.latent_channels, facts.latent_bins)
    x, h = drawn[None] * np.float32(table.initial_scale), None
    guidance = np.array([sampling.guidance], np.float32)
    for index in range(table.steps):
        level = np.array([table.timesteps[index]], np.float32)
        m = model.denoise(x, level, told.conditioning, told.negative, guidance)
        x, h = step(table.row(index), x, m, h)
    decoder = model.decoder()
    _, sound = decoder.decode(np.asarray(x[0], np.float32), 0, 0, 0, sampling.seed, decoder.start(sampling.seed))
    return np.asarray(sound, np.float32)
