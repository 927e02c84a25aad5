"""Our tables against the diffusers schedulers' own `step`, over whole trajectories, with an exact network."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from safa_stream.schedulers import from_scheduler_config
from safa_stream.solvers import step

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import diffusers

schedulers: Any = diffusers

AUDIO = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear", "clip_sample": False}
PIXELS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}

DDIM: list[dict[str, Any]] = [
    AUDIO | {"prediction_type": prediction, "timestep_spacing": spacing}
    for prediction in ("epsilon", "v_prediction", "sample")
    for spacing in ("leading", "trailing", "linspace")
] + [
    AUDIO | {"set_alpha_to_one": False, "steps_offset": 1},
    PIXELS | {"beta_schedule": "linear"},
    PIXELS | {"beta_schedule": "squaredcos_cap_v2"},
    PIXELS | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    {"trained_betas": np.linspace(0.001, 0.02, 1000).tolist(), "clip_sample": False},
]
FLOW: list[dict[str, Any]] = [
    {},
    {"shift": 3.0},
    {"shift": 0.5, "num_train_timesteps": 500},
    {"shift": 3.0, "shift_terminal": 0.1},
    {"invert_sigmas": True},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True, "shift": 2.0},
]
AUDIO_DPM = {name: value for name, value in AUDIO.items() if name != "clip_sample"}
DPM: list[dict[str, Any]] = [
    AUDIO_DPM | {"prediction_type": prediction, "timestep_spacing": spacing}
    for prediction in ("epsilon", "v_prediction", "sample")
    for spacing in ("leading", "trailing", "linspace")
] + [
    AUDIO_DPM | {"solver_order": 1},
    AUDIO_DPM | {"solver_type": "heun"},
    AUDIO_DPM | {"use_karras_sigmas": True},
    AUDIO_DPM | {"use_exponential_sigmas": True},
    AUDIO_DPM | {"use_lu_lambdas": True},
    AUDIO_DPM | {"final_sigmas_type": "sigma_min"},
    AUDIO_DPM | {"final_sigmas_type": "sigma_min", "lower_order_final": False},
    AUDIO_DPM | {"final_sigmas_type": "sigma_min", "euler_at_final": True},
    AUDIO_DPM | {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1},
    AUDIO_DPM | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    AUDIO_DPM | {"steps_offset": 1, "timestep_spacing": "leading"},
    {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"},
    {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "solver_type": "heun"},
]


def network(x: torch.Tensor, t: float) -> torch.Tensor:
    """Smooth in both, of the size of what it is given, and not one that makes rounding errors grow."""
    return 0.5 * torch.sin(x + 0.002 * t) + 0.3 * x


def compare(scheduler: Any, steps: int) -> None:
    scheduler.set_timesteps(steps)
    table = from_scheduler_config(dict(scheduler.config) | {"_class_name": type(scheduler).__name__}, steps)
    assert np.allclose(table.timesteps, scheduler.timesteps.numpy(), rtol=1e-6)
    theirs = ours = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 8, 4)).astype(np.float32))
    h = torch.zeros_like(ours)
    for index, t in enumerate(scheduler.timesteps):
        # Both get the network's answer to the same state, and each keeps its own.
        theirs = scheduler.step(network(theirs, float(t)), t, theirs).prev_sample
        ours, h = step(table.row(index), ours, network(ours, table.timesteps[index]), h)
        size = max(1.0, float(theirs.abs().max()))
        assert float((theirs - ours).abs().max()) <= 1e-5 * size, f"step {index}"


@pytest.mark.parametrize("steps", [1, 7, 25, 200])
@pytest.mark.parametrize("config", DDIM)
def test_ddim(config: dict[str, Any], steps: int) -> None:
    compare(schedulers.DDIMScheduler(**config), steps)


@pytest.mark.parametrize("steps", [2, 7, 28, 200])
@pytest.mark.parametrize("config", FLOW)
def test_flow_matching_euler(config: dict[str, Any], steps: int) -> None:
    compare(schedulers.FlowMatchEulerDiscreteScheduler(**config), steps)


# diffusers turns tensors into arrays in a way that numpy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("steps", [2, 7, 14, 15, 50])
@pytest.mark.parametrize("config", DPM)
def test_dpm_solver_multistep(config: dict[str, Any], steps: int) -> None:
    compare(schedulers.DPMSolverMultistepScheduler(**config), steps)
