"""Solver tables of rectified flows whose pipelines name the noise levels themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safa_stream.errors import ModelError, UsageError
from safa_stream.models.pretrained.checkpoint import library_class
from safa_stream.schedulers import deterministic
from safa_stream.solvers import SolverTable, euler

EULER = "FlowMatchEulerDiscreteScheduler"
#: The most network evaluations that are taken for meant.
MOST_STEPS = 1000


def flow_table(config: Mapping[str, Any], sigmas: Sequence[float]) -> SolverTable:
    """Euler steps from noise level 1 to 0 as diffusers makes them of these levels, shifted and such by its options.

    The stochastic option (ping-pong: estimate, then fresh noise) is turned off, as fresh noise is nothing that the next
    view could share. The table's timesteps are what the network is told; where the scheduler counts the signal instead
    of the noise (invert_sigmas) they are 1 - that, because times of a table fall.

    Raises ModelError for another scheduler or options that it does not run with.
    """
    plain = deterministic(config)
    name = plain.get("_class_name")
    if name != EULER:
        raise ModelError(f"the checkpoint's scheduler is {name}; this model needs {EULER}")
    try:
        scheduler = library_class("diffusers", EULER).from_config(
            {key: value for key, value in plain.items() if not key.startswith("_")}
        )
        scheduler.set_timesteps(sigmas=list(sigmas))
    except (TypeError, ValueError) as error:
        raise ModelError(f"the checkpoint's scheduler cannot be used: {error}") from error
    levels = scheduler.sigmas.tolist()
    if plain.get("invert_sigmas", False):
        return euler(levels, (1 - scheduler.sigmas[:-1]).tolist(), ascending=True)
    return euler(levels, scheduler.timesteps.tolist())


def check_steps(steps: int) -> None:
    """Raise UsageError for a number of steps that no flow takes."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise UsageError(f"the sampler takes a whole number of steps from 1 to {MOST_STEPS}, not {steps!r}")
