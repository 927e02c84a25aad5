"""Noise levels of diffusers' schedulers: which a configuration trains on, and which it samples through.

Computed in single precision where diffusers does so, because a trajectory remembers such differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_stream.errors import UsageError

Config = Mapping[str, Any]
Floats = npt.NDArray[np.floating[Any]]


def signal_powers(config: Config) -> Floats:
    """alphas_cumprod [num_train_timesteps], the share of signal power at every trained timestep."""
    trained = config.get("num_train_timesteps", 1000)
    first, last = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    schedule = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        betas = np.asarray(config["trained_betas"], np.float32)
    elif schedule == "linear":
        betas = _even(first, last, trained)
    elif schedule == "scaled_linear":
        betas = _even(first**0.5, last**0.5, trained) ** 2
    elif schedule == "squaredcos_cap_v2":
        bar = [math.cos((index / trained + 0.008) / 1.008 * math.pi / 2) ** 2 for index in range(trained + 1)]
        betas = np.array([min(1 - b / a, 0.999) for a, b in zip(bar, bar[1:], strict=False)], np.float32)
    else:
        raise UsageError(f"beta schedule {schedule!r} is not supported; use linear, scaled_linear or squaredcos_cap_v2")
    # Rounded as torch rounds: products in double precision, results in single. 1 - power is what small levels live on.
    powers = np.cumprod((1 - betas).astype(np.float64)).astype(np.float32)
    if not config.get("rescale_betas_zero_snr", False):
        return powers
    # arXiv 2305.08891, Algorithm 1: shift so that the last level holds no signal, scale so that the first stays.
    roots = np.sqrt(powers)
    roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
    return np.asarray(roots**2, np.float32)


def dpm_levels(config: Config, steps: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Noise to signal ratios [S + 1] (with flow sigmas: noise shares) and the timesteps [S] told to the network."""
    powers = signal_powers(config)
    if config.get("rescale_betas_zero_snr", False):
        powers[-1] = 2.0**-24
    trained, spacing = len(powers), config.get("timestep_spacing", "linspace")
    ratios = np.asarray(np.sqrt((1 - powers) / powers), np.float32)
    logs, whole = np.log(ratios), config.get("beta_schedule", "linear") != "squaredcos_cap_v2"
    final = config.get("final_sigmas_type", "zero")
    if final not in ("zero", "sigma_min"):
        raise UsageError(f"final_sigmas_type {final!r} is not supported; use zero or sigma_min")
    if config.get("use_karras_sigmas", False):
        sigmas = _karras(ratios[-1], ratios[0], steps)
        timesteps = _times_of(sigmas, logs, whole)
    elif config.get("use_lu_lambdas", False):
        sigmas = np.exp(np.linspace(float(logs[-1]), float(logs[0]), steps))
        timesteps = _times_of(sigmas, logs, whole)
    elif config.get("use_exponential_sigmas", False):
        sigmas = np.exp(np.linspace(math.log(ratios[-1]), math.log(ratios[0]), steps))
        timesteps = _times_of(sigmas, logs, False)
    elif config.get("use_flow_sigmas", False):
        even = 1 - np.linspace(1, 1 / trained, steps + 1)
        sigmas = _shifted(even, config.get("flow_shift", 1.0))[::-1][:-1]
        timesteps = sigmas * trained
    else:
        clip = np.log(np.sqrt(powers)) - np.log(np.sqrt(1 - powers))
        last = trained - int(np.searchsorted(clip[::-1], float(config.get("lambda_min_clipped", -math.inf))))
        timesteps = _dpm_spacing(spacing, last, trained, steps, int(config.get("steps_offset", 0)))
        sigmas = np.interp(timesteps, np.arange(trained), ratios)
    end = float(ratios[0]) if final == "sigma_min" else 0.0
    return np.append(sigmas, end).astype(np.float32), timesteps.astype(np.int64)


def flow_levels(config: Config, steps: int, given: Sequence[float] | None = None) -> npt.NDArray[np.float32]:
    """Noise shares [S] of FlowMatchEulerDiscreteScheduler, falling from about 1.

    given: the levels that a pipeline names itself, in place of even ones; they are shifted all the same.
    """
    trained, shift = config.get("num_train_timesteps", 1000), config.get("shift", 1.0)
    # diffusers shifts the trained range and then the steps in it once more.
    even = np.linspace(1.0, _shifted(np.float64(1 / trained), shift), steps)
    sigmas = _shifted(even if given is None else np.asarray(given, np.float32), shift)
    if config.get("shift_terminal"):
        sigmas = 1 - (1 - sigmas) * ((1 - config["shift_terminal"]) / (1 - sigmas[-1]))
    if config.get("use_karras_sigmas", False):
        sigmas = _karras(sigmas[0], sigmas[-1], steps)
    elif config.get("use_exponential_sigmas", False):
        sigmas = np.exp(np.linspace(math.log(sigmas[0]), math.log(sigmas[-1]), steps))
    return np.asarray(sigmas, np.float32)


def cosine_levels(config: Config, steps: int) -> Floats:
    """Noise to signal ratios [S + 1] of CosineDPMSolverMultistepScheduler."""
    low, high = float(config.get("sigma_min", 0.3)), float(config.get("sigma_max", 500.0))
    schedule, end = config.get("sigma_schedule", "exponential"), config.get("final_sigmas_type", "zero")
    if schedule == "exponential":
        sigmas = np.geomspace(high, low, steps) if steps > 1 else np.array([high])
    elif schedule == "karras":
        sigmas = _karras(high, low, steps, float(config.get("rho", 7.0)))
    else:
        raise UsageError(f"sigma_schedule {schedule!r} is not supported; use exponential or karras")
    return np.append(sigmas, low if end == "sigma_min" else 0.0)


def _even(first: float, last: float, count: int) -> npt.NDArray[np.float32]:
    """torch.linspace in single precision, bit for bit: from either end to the middle, every value rounded once."""
    low, high = np.float32(first), np.float32(last)
    stride, index = float((high - low) / np.float32(count - 1)), np.arange(count)
    rising, falling = float(low) + stride * index, float(high) - stride * (count - 1 - index)
    return np.where(index < count // 2, rising, falling).astype(np.float32)


def _dpm_spacing(spacing: str, last: int, trained: int, steps: int, offset: int) -> Floats:
    if spacing == "linspace":
        return np.linspace(0, last - 1, steps + 1).round()[::-1][:-1]
    if spacing == "leading":
        return (np.arange(steps + 1) * (last // (steps + 1)))[::-1][:-1].astype(np.float64) + offset
    if spacing == "trailing":
        return np.arange(last, 0, -trained / steps).round() - 1
    raise UsageError(f"timestep spacing {spacing!r} is not supported; use linspace, leading or trailing")


def _times_of(sigmas: Floats, logs: Floats, whole: bool) -> Floats:
    """The (fractional) trained timesteps at which these noise ratios stand."""
    times = np.interp(np.log(np.maximum(sigmas, 1e-10)), logs, np.arange(len(logs)))
    return times.round() if whole else times


def _karras(highest: float, lowest: float, steps: int, rho: float = 7.0) -> Floats:
    """arXiv 2206.00364, Eq. 5."""
    top, bottom = float(highest) ** (1 / rho), float(lowest) ** (1 / rho)
    return np.asarray((top + np.linspace(0, 1, steps) * (bottom - top)) ** rho)


def _shifted(t: Any, shift: float) -> Any:
    return shift * t / (1 + (shift - 1) * t)
