"""Whole trajectories with any denoiser: the checkpoint's sampler, classifier-free guidance, random conditioning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_exporters.graph import Part, Sampling
from safa_stream.errors import UsageError
from safa_stream.schedulers import Sigmas, deterministic, from_scheduler_config
from safa_stream.solvers import SolverTable, step
from safa_stream.types import FloatArray

#: The network's guess at noisy latents and the time that it is told.
Predict = Callable[[FloatArray, float], FloatArray]


def table(config: Mapping[str, Any], steps: int, sigmas: Sigmas | None = None) -> SolverTable:
    """The checkpoint's sampler as the model's adapter has it. Raises UsageError as `from_scheduler_config` does."""
    return from_scheduler_config(deterministic(config), steps, sigmas)


def denoise(solver: SolverTable, noise: FloatArray, predict: Predict) -> FloatArray:
    """Latents from unit noise: every step of a sampler."""
    x, h = noise * np.float32(solver.initial_scale), None
    for index, time in enumerate(solver.timesteps):
        x, h = step(solver.row(index), x, predict(x, time), h)
    return np.asarray(x, np.float32)


def guided(
    denoiser: Part,
    conditional: Mapping[str, npt.NDArray[Any]],
    unconditional: Mapping[str, npt.NDArray[Any]],
    guidance: float,
) -> Predict:
    """Classifier-free guidance (arXiv 2207.12598) in one call of doubled batch, unconditional rows first; off up to 1.

    conditional, unconditional: all inputs of the denoiser but "latents" and "timestep", as [rows, ...].
    """

    def predict(latents: FloatArray, time: float) -> FloatArray:
        if guidance <= 1:
            return denoiser({"latents": latents, "timestep": _times(latents, time), **conditional})
        double = np.concatenate([latents, latents])
        both = {name: np.concatenate([unconditional[name], value]) for name, value in conditional.items()}
        without, told = np.split(denoiser({"latents": double, "timestep": _times(double, time), **both}), 2)
        return np.asarray(without + np.float32(guidance) * (told - without), np.float32)

    return predict


def frame_count(sampling: Sampling, usual: int, multiple: int = 1) -> int:
    """The length in latent frames. Raises UsageError where the network cannot do it."""
    frames = usual if sampling.frames is None else sampling.frames
    if frames < 2 * multiple or frames % multiple:
        raise UsageError(f"the model makes 2 x {multiple} frames or more, in multiples of {multiple}, not {frames}")
    return frames


def normal(draw: np.random.Generator, *shape: int) -> FloatArray:
    """Independent normal values in single precision."""
    return draw.standard_normal(shape, np.float32)


def _times(latents: FloatArray, time: float) -> FloatArray:
    return np.full(len(latents), time, np.float32)
