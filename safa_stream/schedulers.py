"""Solver tables from a diffusers scheduler's configuration (scheduler_config.json), so that its models sample as there.

Supported: DDIMScheduler, FlowMatchEulerDiscreteScheduler, DPMSolverMultistepScheduler; and what `deterministic` makes
of others. The noise levels are those of noise_levels.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.noise_levels import Config, cosine_levels, dpm_levels, flow_levels, signal_powers
from safa_stream.solvers import Level, SolverTable, ddim_row, dpm_solver_pp_2m, euler

#: Schedulers over trained timesteps whose steps are tables, the one over a flow, and Stable Audio's.
TRAINED = ("DDIMScheduler", "DPMSolverMultistepScheduler")
FLOW, COSINE = "FlowMatchEulerDiscreteScheduler", "CosineDPMSolverMultistepScheduler"
STOCHASTIC = frozenset(
    "DDPMScheduler DDPMParallelScheduler DDPMWuerstchenScheduler EulerAncestralDiscreteScheduler LCMScheduler "
    "TCDScheduler "
    "KDPM2AncestralDiscreteScheduler DPMSolverSDEScheduler CosineDPMSolverMultistepScheduler FlowMatchLCMScheduler "
    "LTXEulerAncestralRFScheduler CMStochasticIterativeScheduler RePaintScheduler SASolverScheduler SCMScheduler "
    "ScoreSdeVeScheduler ScoreSdeVpScheduler UnCLIPScheduler CogVideoXDPMScheduler".split()
)


#: Noise levels [S], falling from 1, for a number of steps S.
Sigmas = Callable[[int], Sequence[float]]
#: Marks a configuration of a scheduler that adds noise as one to be made without; diffusers has no such option there.
WITHOUT_NOISE = {"algorithm_type": "dpmsolver++"}
#: The most network evaluations of schedulers that are not bound to trained timesteps.
MOST_STEPS = 1000


def from_scheduler_config(config: Config, steps: int, sigmas: Sigmas | None = None) -> SolverTable:
    """The table of `steps` network evaluations that makes the steps of the diffusers scheduler of this configuration.

    sigmas: the noise levels that a pipeline names itself; FlowMatchEulerDiscreteScheduler only.

    Raises UsageError naming a scheduler that adds noise of its own or is not linear in one previous estimate, an option
    that is not supported, and step counts that the scheduler cannot do.
    """
    name = str(config.get("_class_name", "a configuration without _class_name"))
    if name in STOCHASTIC and not (name == COSINE and config.items() >= WITHOUT_NOISE.items()):
        raise UsageError(
            f"{name} is stochastic (it adds fresh noise at every step), so views could not be continued exactly; "
            f"use {', '.join(TRAINED)} or {FLOW}"
        )
    if name not in (*TRAINED, FLOW, COSINE):
        raise UsageError(f"{name} is not supported; use {', '.join(TRAINED)} or {FLOW}")
    if sigmas is not None and name != FLOW:
        raise UsageError(f"{name} cannot be told its noise levels, as this model needs it to be; use {FLOW}")
    most = MOST_STEPS if name == COSINE or sigmas is not None else config.get("num_train_timesteps", 1000)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= most:
        raise UsageError(f"{name} takes a whole number of steps from 1 to {most}, not {steps!r}")
    if name == FLOW:
        return _flow_euler(config, steps, None if sigmas is None else sigmas(steps))
    makers = {"DDIMScheduler": _ddim, "DPMSolverMultistepScheduler": _dpm_multistep, COSINE: _cosine}
    return makers[name](config, steps)


def deterministic(config: Config) -> Config:
    """The configuration, or that of what is nearest to it, adds no noise of its own and has steps that are a table.

    CosineDPMSolverMultistep becomes DPM-Solver++ over its noise levels, other schedulers over trained timesteps become
    DDIM over the same training noise, and options that make a scheduler stochastic are turned off.
    """
    out = dict(config)
    name, algorithm = str(out.get("_class_name")), str(out.get("algorithm_type", ""))
    if name == COSINE:
        out |= WITHOUT_NOISE
    elif name not in TRAINED and (name in STOCHASTIC or "beta_schedule" in out):
        # What DDIM alone would clip where nothing is said of it.
        out = {"clip_sample": False} | out | {"_class_name": "DDIMScheduler"}
    elif algorithm.startswith("sde-"):
        out |= {"algorithm_type": algorithm.removeprefix("sde-")}
    if out.get("stochastic_sampling"):
        out |= {"stochastic_sampling": False}
    return out


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


def _flow_euler(config: Config, steps: int, given: Sequence[float] | None) -> SolverTable:
    _refuse(config, use_dynamic_shifting=False, use_beta_sigmas=False)
    if config.get("stochastic_sampling", False):
        raise UsageError("FlowMatchEulerDiscreteScheduler with stochastic_sampling is stochastic; turn it off")
    sigmas, inverted = flow_levels(config, steps, given), bool(config.get("invert_sigmas", False))
    if inverted:
        sigmas = 1 - sigmas
    timesteps = (sigmas * config.get("num_train_timesteps", 1000)).tolist()
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
    sigmas, timesteps = dpm_levels(config, steps)
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


def _cosine(config: Config, steps: int) -> SolverTable:
    """DPM-Solver++ 2M. The scheduler holds clean + sigma noise and shows the network that times 1 / sqrt(sigma^2 + 1);
    the table's states are what the network is shown, so no scaling is left."""
    for option, value in {"sigma_data": 1.0, "prediction_type": "v_prediction", "solver_order": 2}.items():
        if config.get(option, value) != value:
            raise UsageError(f"{COSINE} with {option} {config[option]!r} is not supported; it should be {value!r}")
    sigmas = cosine_levels(config, steps).tolist()
    levels = [_variance_preserving(sigma) for sigma in sigmas]
    short = bool(config.get("lower_order_final", True)) and steps < 15
    return dpm_solver_pp_2m(
        [level.alpha for level in levels],
        [level.sigma for level in levels],
        [math.atan(sigma) / math.pi * 2 for sigma in sigmas[:-1]],
        "v_prediction",
        heun=config.get("solver_type", "midpoint") == "heun",
        first_order=[steps - 1] if short or config.get("euler_at_final", False) else [],
    )


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
