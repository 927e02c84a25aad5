"""Solver tables from a diffusers scheduler's configuration (scheduler_config.json), so that its models sample as there.

Supported: DDIMScheduler, FlowMatchEulerDiscreteScheduler, DPMSolverMultistepScheduler. Noise levels are computed in
single precision where diffusers does so, because a trajectory remembers such differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_stream.errors import UsageError
from safa_stream.solvers import Level, SolverTable, ddim_row, dpm_solver_pp_2m, euler

Config = Mapping[str, Any]
Floats = npt.NDArray[np.floating[Any]]

STOCHASTIC = frozenset(
    "DDPMScheduler DDPMParallelScheduler DDPMWuerstchenScheduler EulerAncestralDiscreteScheduler LCMScheduler "
    "TCDScheduler "
    "KDPM2AncestralDiscreteScheduler DPMSolverSDEScheduler CosineDPMSolverMultistepScheduler FlowMatchLCMScheduler "
    "LTXEulerAncestralRFScheduler CMStochasticIterativeScheduler RePaintScheduler SASolverScheduler SCMScheduler "
    "ScoreSdeVeScheduler ScoreSdeVpScheduler UnCLIPScheduler CogVideoXDPMScheduler".split()
)


def from_scheduler_config(config: Config, steps: int) -> SolverTable:
    """The table of `steps` network evaluations that makes the steps of the diffusers scheduler of this configuration.

    Raises UsageError naming a scheduler that adds noise of its own or is not linear in one previous estimate, an option
    that is not supported, and step counts that the scheduler cannot do.
    """
    name = str(config.get("_class_name", "a configuration without _class_name"))
    makers: dict[str, Callable[[Config, int], SolverTable]] = {
        "DDIMScheduler": _ddim,
        "FlowMatchEulerDiscreteScheduler": _flow_euler,
        "DPMSolverMultistepScheduler": _dpm_multistep,
    }
    if name in STOCHASTIC:
        raise UsageError(
            f"{name} is stochastic (it adds fresh noise at every step), so views could not be continued exactly; "
            f"use {', '.join(makers)}"
        )
    if name not in makers:
        raise UsageError(f"{name} is not supported; use {', '.join(makers)}")
    trained = config.get("num_train_timesteps", 1000)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= trained:
        raise UsageError(f"{name} takes a whole number of steps from 1 to {trained}, not {steps!r}")
    return makers[name](config, steps)


def deterministic(config: Config) -> Config:
    """The configuration, or that of what is nearest to it and adds no noise of its own over the same noise levels.

    CosineDPMSolverMultistep becomes EDM's DPM-Solver++, other stochastic schedulers become DDIM over the same training
    noise, and options that make a scheduler stochastic are turned off.
    """
    out = dict(config)
    name, algorithm = str(out.get("_class_name")), str(out.get("algorithm_type", ""))
    if name == "CosineDPMSolverMultistepScheduler":
        out |= {"_class_name": "EDMDPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++"}
    elif name in STOCHASTIC:
        out |= {"_class_name": "DDIMScheduler"}
    elif algorithm.startswith("sde-"):
        out |= {"algorithm_type": algorithm.removeprefix("sde-")}
    if out.get("stochastic_sampling"):
        out |= {"stochastic_sampling": False}
    return out


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


def _even(first: float, last: float, count: int) -> npt.NDArray[np.float32]:
    """torch.linspace in single precision, bit for bit: from either end to the middle, every value rounded once."""
    low, high = np.float32(first), np.float32(last)
    stride, index = float((high - low) / np.float32(count - 1)), np.arange(count)
    rising, falling = float(low) + stride * index, float(high) - stride * (count - 1 - index)
    return np.where(index < count // 2, rising, falling).astype(np.float32)


def _ddim(config: Config, steps: int) -> SolverTable:
    _refuse(config, clip_sample=True, thresholding=False)
    powers = signal_powers(config)
    trained, spacing = len(powers), config.get("timestep_spacing", "leading")
    if spacing == "linspace":
        timesteps = np.linspace(0, trained - 1, steps).round()[::-1].astype(np.int64)
    elif spacing == "leading":
        timesteps = (np.arange(steps) * (trained // steps))[::-1] + int(config.get("steps_offset", 0))
    elif spacing == "trailing":
        timesteps = np.round(np.arange(trained, 0, -trained / steps)).astype(np.int64) - 1
    else:
        raise UsageError(f"timestep spacing {spacing!r} is not supported; use linspace, leading or trailing")
    if timesteps[0] >= trained:
        raise UsageError(f"{steps} steps with this steps_offset start past the {trained} trained timesteps")
    last = 1.0 if config.get("set_alpha_to_one", True) else float(powers[0])
    rows = []
    for now in timesteps.tolist():
        # diffusers steps back by the whole stride, which is not always the next timestep of the list.
        back = now - trained // steps
        after = float(powers[back]) if back >= 0 else last
        rows.append(ddim_row(_level(float(powers[now])), _level(after), config.get("prediction_type", "epsilon")))
    return SolverTable.from_rows("ddim", timesteps.tolist(), rows)


def _flow_euler(config: Config, steps: int) -> SolverTable:
    _refuse(config, use_dynamic_shifting=False, use_beta_sigmas=False)
    if config.get("stochastic_sampling", False):
        raise UsageError("FlowMatchEulerDiscreteScheduler with stochastic_sampling is stochastic; turn it off")
    trained, shift = config.get("num_train_timesteps", 1000), config.get("shift", 1.0)
    # diffusers shifts the trained range and then the steps in it once more.
    lowest = _shifted(np.float64(1 / trained), shift)
    sigmas = _shifted(np.linspace(1.0, lowest, steps), shift)
    if config.get("shift_terminal"):
        sigmas = 1 - (1 - sigmas) * ((1 - config["shift_terminal"]) / (1 - sigmas[-1]))
    if config.get("use_karras_sigmas", False):
        sigmas = _karras(sigmas[0], sigmas[-1], steps)
    elif config.get("use_exponential_sigmas", False):
        sigmas = np.exp(np.linspace(math.log(sigmas[0]), math.log(sigmas[-1]), steps))
    sigmas = sigmas.astype(np.float32)
    inverted = bool(config.get("invert_sigmas", False))
    if inverted:
        sigmas = 1 - sigmas
    timesteps = (sigmas * trained).tolist()
    return euler([*sigmas.tolist(), 1.0 if inverted else 0.0], timesteps, ascending=inverted)


def _dpm_multistep(config: Config, steps: int) -> SolverTable:
    _refuse(config, thresholding=False, use_beta_sigmas=False, use_dynamic_shifting=False, variance_type=None)
    algorithm, order = config.get("algorithm_type", "dpmsolver++"), config.get("solver_order", 2)
    if algorithm.startswith("sde-"):
        raise UsageError(
            f"DPMSolverMultistepScheduler with algorithm_type {algorithm!r} is stochastic; use dpmsolver++"
        )
    if algorithm not in ("dpmsolver++", "deis") or order not in (1, 2):
        raise UsageError(
            f"DPMSolverMultistepScheduler with algorithm_type {algorithm!r} and solver_order {order} is not supported; "
            "use dpmsolver++ with order 1 or 2"
        )
    flow, prediction = config.get("use_flow_sigmas", False), config.get("prediction_type", "epsilon")
    if (prediction == "flow_prediction") != flow and prediction in ("flow_prediction", "v_prediction"):
        raise UsageError(f"prediction type {prediction!r} does not go with use_flow_sigmas {str(flow).lower()}")
    sigmas, timesteps = _dpm_sigmas(config, steps)
    levels = [Level(1 - sigma, sigma) if flow else _variance_preserving(sigma) for sigma in sigmas.tolist()]
    count = len(timesteps)
    short = bool(config.get("lower_order_final", True)) and count < 15
    plain = set(range(count)) if order == 1 else set()
    if config.get("euler_at_final", False) or short:
        plain.add(count - 1)
    alphas, noises = [level.alpha for level in levels], [level.sigma for level in levels]
    heun = config.get("solver_type", "midpoint") == "heun"
    return dpm_solver_pp_2m(
        alphas,
        noises,
        timesteps.tolist(),
        prediction.removesuffix("_prediction") if flow else prediction,
        heun,
        sorted(plain),
    )


def _dpm_sigmas(config: Config, steps: int) -> tuple[Floats, npt.NDArray[np.int64]]:
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


def _karras(highest: float, lowest: float, steps: int) -> Floats:
    """arXiv 2206.00364, Eq. 5, rho = 7."""
    top, bottom = float(highest) ** (1 / 7), float(lowest) ** (1 / 7)
    return np.asarray((top + np.linspace(0, 1, steps) * (bottom - top)) ** 7)


def _shifted(t: Any, shift: float) -> Any:
    return shift * t / (1 + (shift - 1) * t)


def _level(power: float) -> Level:
    return Level(math.sqrt(power), math.sqrt(1 - power))


def _variance_preserving(ratio: float) -> Level:
    alpha = 1 / math.sqrt(ratio**2 + 1)
    return Level(alpha, ratio * alpha)


def _refuse(config: Config, **defaults: Any) -> None:
    """Refuse options that are on; `defaults` holds what diffusers assumes where the configuration is silent."""
    for option, default in defaults.items():
        if config.get(option, default):
            raise UsageError(
                f"{config['_class_name']} with {option} is not supported (its steps are no table of coefficients); "
                f"set {option} to {'null' if default is None else 'false'}"
            )
