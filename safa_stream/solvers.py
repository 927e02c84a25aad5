"""Deterministic samplers as tables of coefficients: every step is x' = A x + B m + C h, h' = P x + Q m.

x is the noisy state alpha * clean + sigma * noise, m the network's output, h the clean estimate of the step before.
So rows of one batch may stand at different steps of different samplers, and a swap moves frames of x and h alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import array_api_compat

from safa_stream.errors import UsageError
from safa_stream.types import Array

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow")


class Level(NamedTuple):
    """How much clean signal and how much noise a state holds."""

    alpha: float
    sigma: float

    @property
    def log_ratio(self) -> float:
        """lambda = log(alpha / sigma), infinite where one of them is 0."""
        if self.alpha == 0:
            return -math.inf
        return math.inf if self.sigma == 0 else math.log(self.alpha) - math.log(self.sigma)


class Row(NamedTuple):
    """One step's coefficients: numbers, or arrays [B] with one entry a batch row."""

    A: Array
    B: Array
    C: Array
    P: Array
    Q: Array


@dataclass(frozen=True, slots=True)
class SolverTable:
    """A sampler of S steps: what the network is told at each, the five columns, and the first state's noise scale."""

    name: str
    timesteps: tuple[float, ...]
    A: tuple[float, ...]
    B: tuple[float, ...]
    C: tuple[float, ...]
    P: tuple[float, ...]
    Q: tuple[float, ...]
    initial_scale: float = 1.0

    @classmethod
    def from_rows(
        cls, name: str, timesteps: Sequence[float], rows: Sequence[Row], initial_scale: float = 1.0
    ) -> SolverTable:
        """A table of one row a step. Raises UsageError where a coefficient is not finite."""
        for index, row in enumerate(rows, start=1):
            if not all(math.isfinite(value) for value in row):
                raise UsageError(f"{name}: step {index} of {len(rows)} has no finite coefficients; use fewer steps")
        A, B, C, P, Q = (tuple(float(value) for value in column) for column in zip(*rows, strict=True))
        return cls(name, tuple(float(t) for t in timesteps), A, B, C, P, Q, initial_scale)

    @property
    def steps(self) -> int:
        """S, the number of network evaluations."""
        return len(self.timesteps)

    @property
    def times(self) -> tuple[float, ...]:
        """[S + 1]: the time of every state, the first the noise's, the last 0."""
        return (*self.timesteps, 0.0)

    @property
    def multistep(self) -> bool:
        """Whether any step looks at the one before, so that the history must travel with the state."""
        return any(self.C)

    def row(self, index: int) -> Row:
        """The coefficients of one step, 0 <= index < S."""
        return Row(self.A[index], self.B[index], self.C[index], self.P[index], self.Q[index])


def step(row: Row, x: Array, m: Array, h: Array | None) -> tuple[Array, Array]:
    """One solver step: (x', h') [B, C, T, F]. `h` None stands for zeros; a row's arrays [B] are spread over x."""
    A, B, C, P, Q = (_spread(column, x) for column in row)
    after = A * x + B * m
    return (after if h is None else after + C * h), P * x + Q * m


def stack_rows(rows: Sequence[Row], example: Array) -> Row:
    """Rows of several tables as one row of arrays [B], in the array library and on the device of `example`."""
    xp, device = array_api_compat.array_namespace(example), array_api_compat.device(example)
    return Row(*(xp.asarray(column, dtype=example.dtype, device=device) for column in zip(*rows, strict=True)))


def clean_estimate(level: Level, prediction: str) -> tuple[float, float]:
    """(P, Q) with clean = P x + Q m. Raises UsageError for an unknown prediction, and for epsilon at zero signal."""
    alpha, sigma = level
    if prediction == "sample":
        return 0.0, 1.0
    if prediction == "epsilon":
        if alpha == 0:
            raise UsageError("epsilon prediction cannot start at zero signal; use v_prediction or sample")
        return 1 / alpha, -sigma / alpha
    if prediction == "v_prediction":
        power = alpha**2 + sigma**2
        return alpha / power, -sigma / power
    if prediction == "flow":
        return 1 / (alpha + sigma), -sigma / (alpha + sigma)
    raise UsageError(f"prediction type {prediction!r} is not known; there are {', '.join(PREDICTIONS)}")


def ddim_row(now: Level, after: Level, prediction: str) -> Row:
    """DDIM at eta 0 (arXiv 2010.02502, Eq. 12): keep the predicted noise, lower its share."""
    return dpm_solver_row(None, now, after, prediction)


def dpm_solver_row(before: Level | None, now: Level, after: Level, prediction: str, heun: bool = False) -> Row:
    """DPM-Solver++ 2M (arXiv 2211.01095, Algorithm 2) from `now` to `after`; first order where `before` is None."""
    if now.sigma == 0 or now == before:
        raise UsageError("two steps of the sampler stand at one noise level; use fewer steps")
    P, Q = clean_estimate(now, prediction)
    ratio = after.sigma / now.sigma
    gain = after.alpha - now.alpha * ratio
    lean = 0.0
    if before is not None:
        ahead, behind = after.log_ratio - now.log_ratio, now.log_ratio - before.log_ratio
        curve = after.alpha * (math.expm1(-ahead) / ahead + 1) if heun else gain / 2
        lean = curve * ahead / behind
    return Row(ratio + (gain + lean) * P, (gain + lean) * Q, -lean, P, Q)


def ddim(alphas: Sequence[float], sigmas: Sequence[float], timesteps: Sequence[float], prediction: str) -> SolverTable:
    """DDIM through S + 1 levels, the last the result's; timesteps [S]."""
    levels = _levels(alphas, sigmas, timesteps)
    rows = [ddim_row(now, after, prediction) for now, after in zip(levels, levels[1:], strict=False)]
    return SolverTable.from_rows("ddim", timesteps, rows)


def euler(sigmas: Sequence[float], timesteps: Sequence[float], ascending: bool = False) -> SolverTable:
    """Euler steps of a flow through S + 1 levels: x' = x + (sigma' - sigma) m.

    `ascending`: sigma counts the signal, from 0 to 1, and the network predicts clean - noise (Mochi's convention).
    """
    _levels(sigmas, sigmas, timesteps)
    rows = [
        Row(1.0, after - now, 0.0, 1.0, 1 - now if ascending else -now)
        for now, after in zip(sigmas, sigmas[1:], strict=False)
    ]
    return SolverTable.from_rows("euler", timesteps, rows)


def dpm_solver_pp_2m(
    alphas: Sequence[float],
    sigmas: Sequence[float],
    timesteps: Sequence[float],
    prediction: str,
    heun: bool = False,
    first_order: Sequence[int] = (),
) -> SolverTable:
    """DPM-Solver++ 2M through S + 1 levels.

    The first step, those in `first_order` and one that ends without noise look at no history.
    """
    levels = _levels(alphas, sigmas, timesteps)
    rows = []
    for index, (now, after) in enumerate(zip(levels, levels[1:], strict=False)):
        plain = index == 0 or index in first_order or after.sigma == 0
        rows.append(dpm_solver_row(None if plain else levels[index - 1], now, after, prediction, heun))
    return SolverTable.from_rows("dpm-solver++2m", timesteps, rows)


@lru_cache(maxsize=64)
def builtin_table(steps: int, shift: float) -> SolverTable:
    """The built-in model's sampler: DPM-Solver++ 2M from t = 1 to 0 for a network that predicts the clean latent.

    A flow: alpha = 1 - t, sigma = t, t' = shift t / (1 + (shift - 1) t); a shift above 1 spends more steps in noise.
    """
    if steps < 1:
        raise UsageError(f"a sampler needs at least 1 step, not {steps}")
    if not (math.isfinite(shift) and shift > 0):
        raise UsageError(f"the schedule's shift must be above 0, not {shift}")
    even = [1 - index / steps for index in range(steps + 1)]
    times = [shift * t / (1 + (shift - 1) * t) for t in even]
    return dpm_solver_pp_2m([1 - t for t in times], times, times[:-1], "sample")


def _levels(alphas: Sequence[float], sigmas: Sequence[float], timesteps: Sequence[float]) -> list[Level]:
    if not len(alphas) == len(sigmas) == len(timesteps) + 1 or not timesteps:
        raise UsageError(f"{len(timesteps)} steps need {len(timesteps) + 1} noise levels, not {len(sigmas)}")
    return [Level(float(alpha), float(sigma)) for alpha, sigma in zip(alphas, sigmas, strict=True)]


def _spread(column: Array, x: Array) -> Array:
    """A number as it is; an array [B] with axes added until it spreads over x."""
    if isinstance(column, float | int):
        return column
    xp = array_api_compat.array_namespace(x)
    return xp.reshape(column, (-1,) + (1,) * (x.ndim - 1))
