"""The built-in model, or one that `safa-stream train` made, as graphs to export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from safa_exporters.decoder_graph import decoder_graph
from safa_exporters.fused import step_graph
from safa_exporters.graph import About, Axis, Graph, Part, Sampling
from safa_exporters.viewing import view
from safa_stream.models.builtin.decoder import TextureDecoder
from safa_stream.models.builtin.features import SAMPLE_RATE
from safa_stream.models.builtin.guiding import STEADINESS
from safa_stream.models.builtin.network import INPUTS
from safa_stream.models.builtin.networks import NetworkConfig, build
from safa_stream.models.builtin.runtime import BuiltinModel, floats
from safa_stream.models.builtin.weights import DECODER_NAME, Weights
from safa_stream.models.interface import Encoded
from safa_stream.solvers import Row
from safa_stream.types import Array, FloatArray

#: What the number of frames must be a multiple of: a patch, or what the U-Net halves twice.
TIME_UNITS = {"dit": 2, "unet": 4}


@dataclass(frozen=True, slots=True)
class BuiltinSource:
    """A model directory of the built-in kind. fused: "step" or "swap" for that graph besides the denoiser's."""

    weights: Weights
    fused: str | None = None

    @property
    def about(self) -> About:
        """What the configuration says of the model."""
        config = self.weights.config
        return About("safa-builtin", config["name"], config["licence"], self.weights.digest, SAMPLE_RATE)

    def graphs(self) -> Sequence[Graph]:
        """The denoiser, the decoder as the folder holds it, and the whole step where that is wanted."""
        ready = self.weights.folder / DECODER_NAME
        decoder = replace(decoder_graph(self.weights), ready=ready if ready.is_file() else None)
        graphs = [denoiser_graph(self.weights), decoder]
        if self.fused is not None:
            graphs.append(step_graph(self.weights, network(self.weights), self.fused == "swap"))
        return graphs

    def sample(self, parts: Mapping[str, Part], sampling: Sampling) -> FloatArray:
        """Sound [rows, 2, N] of one view a row, its prompts the model's sounds in turn; once more with fused steps."""
        denoiser, fused = parts["denoiser"], parts.get("step")
        model = BuiltinModel(
            self.weights,
            network=lambda *values: denoiser(dict(zip(INPUTS, values, strict=True))),
            decoder=TextureDecoder((parts["decoder"],)),
        )
        steppers = [None] if fused is None else [None, partial(_fused, model, fused)]
        frames = sampling.frames or model.facts.view_frames
        views = [
            view(model, sampling.seed + row, sampling.steps, sampling.guidance, frames, stepper)
            for stepper in steppers
            for row in range(sampling.rows)
        ]
        return np.stack(views)


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


def _fused(
    model: BuiltinModel,
    run: Part,
    x: Array,
    h: Array | None,
    level: FloatArray,
    told: Encoded,
    guidance: FloatArray,
    row: Row,
) -> tuple[Array, Array]:
    """A step by the fused graph, from and to [1, C, T, F]; nothing is swapped."""
    _, channels, length, bins = x.shape
    wide = {"x": x, "h": x * 0 if h is None else h}
    flat = {name: value.transpose(0, 2, 1, 3).reshape(1, length, channels * bins) for name, value in wide.items()}
    carried_out = model.guided(told.conditioning, floats(guidance), floats(level))
    nothing = np.zeros((1, length), np.float32)
    inputs = {
        **flat,
        "level": level,
        "condition": told.conditioning.tensors["condition"],
        "negative": told.negative.tensors["condition"],
        "guidance": np.array(carried_out, np.float32),
        "context": np.zeros_like(flat["x"]),
        "known": nothing,
        "table": np.array([row], np.float32),
        "shaping": np.array([model.rules(told.conditioning)[0][STEADINESS:]], np.float32),
        "cached_x": flat["x"],
        "cached_h": flat["h"],
        "taken": nothing,
    }
    found = run({name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()})
    after = found.reshape(2, 1, length, channels, bins).transpose(0, 1, 3, 2, 4)
    return after[0], after[1]
