"""One view of the built-in model from its noise to its sound, made as every view is: guided, step by step, decoded.

Without torch, so that backends can be compared where it is not installed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from safa_stream.models.builtin.runtime import BuiltinModel
from safa_stream.models.interface import Encoded
from safa_stream.noise import noise
from safa_stream.scene import WeightedPrompt
from safa_stream.solvers import Row, step
from safa_stream.types import Array, FloatArray

#: Another way to make a step: state, history, level [1], prompts, guidance [1] and the solver's row to state, history.
Stepper = Callable[[Array, Array | None, FloatArray, Encoded, FloatArray, Row], tuple[Array, Array]]


def view(
    model: BuiltinModel, seed: int, steps: int, guidance: float, frames: int, stepper: Stepper | None = None
) -> FloatArray:
    """Sound [2, N] of `frames` latent frames. The prompt is one of the model's sounds, chosen by the seed."""
    facts = model.facts
    told = model.encode((WeightedPrompt(facts.sounds[seed % len(facts.sounds)]),), (), seed)
    table = model.solver(steps)
    drawn = noise(seed, "view", 0, frames, facts.latent_channels, facts.latent_bins)
    x, h = model.from_numpy(drawn[None]) * table.initial_scale, None
    scale = np.array([guidance], np.float32)
    for index in range(table.steps):
        level = np.array([table.timesteps[index]], np.float32)
        if stepper is not None:
            x, h = stepper(x, h, level, told, scale, table.row(index))
            continue
        m = model.denoise(x, level, told.conditioning, told.negative, scale)
        x, h = step(table.row(index), x, m, h)
    decoder = model.decoder()
    return decoder.decode(model.to_numpy(x)[0], 0, 0, 0, seed, decoder.start(seed))[1]
