"""Whole trajectories with any denoiser: diffusers' own schedulers, classifier-free guidance, random conditioning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from safa_exporters.graph import Part, Sampling
from safa_stream.errors import ModelError, UsageError
from safa_stream.models.pretrained.checkpoint import library_class
from safa_stream.schedulers import deterministic
from safa_stream.types import FloatArray

#: The network's guess at noisy latents and the time that it is told.
Predict = Callable[[FloatArray, float], FloatArray]


def deterministic_scheduler(config: Mapping[str, Any], steps: int, sigmas: Sequence[float] | None = None) -> Any:
    """The checkpoint's scheduler set to `steps`, or what is nearest to it and adds no noise of its own.

    sigmas: noise levels, one a step, in place of the scheduler's own.

    What is nearest says `schedulers.deterministic`; for CosineDPMSolverMultistep the levels are told as
    2/pi atan(sigma). Raises ModelError for a
    configuration that diffusers does not take and UsageError for step counts that the scheduler cannot do.
    """
    atan, plain = config["_class_name"] == "CosineDPMSolverMultistepScheduler", deterministic(config)
    name = str(plain["_class_name"])
    options = {key: value for key, value in plain.items() if not key.startswith("_")}
    if not name.endswith("Scheduler"):
        raise ModelError(f"{name} is not a scheduler of diffusers")
    if steps < 1:
        raise UsageError(f"a trajectory has 1 step or more, not {steps}")
    given = {"num_inference_steps": steps} if sigmas is None else {"sigmas": list(sigmas)}
    try:
        scheduler = library_class("diffusers", name).from_config(options)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(f"the scheduler's configuration does not make a {name}: {error}") from error
    try:
        scheduler.set_timesteps(**given)
    except TypeError as error:
        raise ModelError(f"{name} cannot be told its noise levels, as this model needs it to be") from error
    except ValueError as error:
        raise UsageError(f"{name} cannot do {steps} steps: {error}") from error
    if atan:
        scheduler.timesteps = scheduler.sigmas[:-1].atan() / math.pi * 2
    return scheduler


def denoise(scheduler: Any, noise: FloatArray, predict: Predict) -> FloatArray:
    """Latents from unit noise: every step of a scheduler whose timesteps are set."""
    latents = torch.from_numpy(noise) * float(getattr(scheduler, "init_noise_sigma", 1.0))
    scale = getattr(scheduler, "scale_model_input", lambda latents, timestep: latents)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for timestep in scheduler.timesteps:
            guess = predict(scale(latents, timestep).numpy(), float(timestep))
            latents = scheduler.step(torch.from_numpy(guess), timestep, latents, return_dict=False)[0]
    return np.asarray(latents.numpy(), np.float32)


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
