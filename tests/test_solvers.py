from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from safa_stream import solvers
from safa_stream.errors import UsageError
from safa_stream.schedulers import from_scheduler_config
from tests.toy import World, toy

Network = Callable[[np.ndarray, float], np.ndarray]


def run(table: solvers.SolverTable, x: np.ndarray, model: Network) -> np.ndarray:
    h = None
    for index, t in enumerate(table.timesteps):
        x, h = solvers.step(table.row(index), x, model(x, t), h)
    return x


def gaussian(mean: float, deviation: float, steps: int, prediction: str) -> tuple[Network, float]:
    """A network that predicts perfectly for clean ~ N(mean, deviation^2), and what the exact flow makes of x = 1.3."""

    def model(x: np.ndarray, t: float) -> np.ndarray:
        alpha, sigma = 1 - t, t
        clean = mean + alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2) * (x - alpha * mean)
        return {"sample": clean, "flow": (x - clean) / sigma, "epsilon": (x - alpha * clean) / sigma}[prediction]

    return model, mean + deviation * 1.3


@pytest.mark.parametrize("steps, tolerance", [(4, 0.3), (16, 0.03), (128, 0.001)])
def test_the_builtin_sampler_converges_to_the_exact_flow(steps: int, tolerance: float) -> None:
    model, exact = gaussian(2.0, 0.5, steps, "sample")
    made = run(solvers.builtin_table(steps, 1.0), np.array([1.3]), model)
    assert abs(made[0] - exact) < tolerance


def test_second_order_beats_first_order() -> None:
    model, exact = gaussian(2.0, 0.5, 32, "sample")
    times = [1 - i / 32 for i in range(33)]
    alphas = [1 - t for t in times]
    first = run(solvers.ddim(alphas, times, times[:-1], "sample"), np.array([1.3]), model)
    second = run(solvers.builtin_table(32, 1.0), np.array([1.3]), model)
    assert abs(second[0] - exact) < 0.2 * abs(first[0] - exact)


def test_ddim_and_euler_are_one_on_a_flow() -> None:
    times = [1 - i / 10 for i in range(11)]
    model, _ = gaussian(-1.0, 0.7, 10, "flow")
    x = np.array([0.4])
    ddim = run(solvers.ddim([1 - t for t in times], times, times[:-1], "flow"), x, model)
    euler = run(solvers.euler(times, times[:-1]), x, model)
    assert np.allclose(ddim, euler, atol=1e-12)


def test_the_last_step_ends_at_the_clean_estimate() -> None:
    table = solvers.builtin_table(6, 2.0)
    assert (table.A[-1], table.B[-1], table.C[-1]) == (0.0, 1.0, 0.0)
    assert table.timesteps[0] == 1.0 and table.steps == 6 and table.multistep
    assert not solvers.builtin_table(1, 1.0).multistep


def test_rows_of_one_batch_may_stand_at_different_steps(world: World) -> None:
    table, other = solvers.builtin_table(8, 1.0), solvers.builtin_table(5, 3.0)
    rng = np.random.default_rng(0)
    x, m, h = (rng.standard_normal((2, 3, 4, 5)).astype(np.float32) for _ in range(3))
    rows = [table.row(4), other.row(2)]
    mixed = solvers.step(
        solvers.stack_rows(rows, world.from_numpy(x)), *(world.from_numpy(values) for values in (x, m, h))
    )
    for index, row in enumerate(rows):
        alone = solvers.step(row, x[index : index + 1], m[index : index + 1], h[index : index + 1])
        for got, expected in zip(mixed, alone, strict=True):
            assert np.allclose(world.to_numpy(got)[index], expected[0], atol=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_clean_estimate_inverts_every_prediction(prediction: str) -> None:
    level = solvers.Level(math.sqrt(0.3), math.sqrt(0.7))
    clean, drawn = 1.7, -0.4
    x = level.alpha * clean + level.sigma * drawn
    m = {"epsilon": drawn, "v_prediction": level.alpha * drawn - level.sigma * clean, "sample": clean}[prediction]
    P, Q = solvers.clean_estimate(level, prediction)
    assert math.isclose(P * x + Q * m, clean, rel_tol=1e-12)


def test_bad_tables_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 step"):
        solvers.builtin_table(0, 1.0)
    with pytest.raises(UsageError, match="shift"):
        solvers.builtin_table(4, float("nan"))
    with pytest.raises(UsageError, match="zero signal"):
        solvers.ddim([0.0, 1.0], [1.0, 0.0], [1.0], "epsilon")
    with pytest.raises(UsageError, match="not known"):
        solvers.ddim([0.5, 1.0], [0.5, 0.0], [1.0], "score")
    with pytest.raises(UsageError, match="noise levels"):
        solvers.ddim([0.5], [0.5], [1.0], "sample")


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler"])
def test_stochastic_schedulers_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is stochastic"):
        from_scheduler_config({"_class_name": name}, 10)


@pytest.mark.parametrize(
    "config, named",
    [
        ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}, "stochastic"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "stochastic_sampling": True}, "stochastic"),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, "solver_order 3"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_beta_sigmas": True}, "use_beta_sigmas"),
        ({"_class_name": "DDIMScheduler"}, "clip_sample"),
        ({"_class_name": "DDIMScheduler", "clip_sample": False, "thresholding": True}, "thresholding"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}, "use_dynamic_shifting"),
        ({"_class_name": "PNDMScheduler"}, "PNDMScheduler is not supported"),
        ({}, "without _class_name"),
    ],
)
def test_options_that_are_no_table_are_refused_by_name(config: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        from_scheduler_config(config, 10)


@pytest.mark.parametrize("steps", [0, -3, 1001, 2.5, True])
def test_step_counts_that_a_scheduler_cannot_do_are_refused(steps: Any) -> None:
    with pytest.raises(UsageError, match="from 1 to 1000"):
        from_scheduler_config({"_class_name": "DDIMScheduler", "clip_sample": False}, steps)


def test_the_toy_model_is_sampled_with_its_own_statistics() -> None:
    model = toy(latent_channels=16, latent_bins=16)
    encoded = model.encode((), (), 0)
    x = np.random.default_rng(0).standard_normal((1, 16, 40, 16)).astype(np.float32)
    table = model.solver(24)
    h = np.zeros_like(x)
    for index, t in enumerate(table.timesteps):
        told = (np.array([t]), encoded.conditioning, encoded.negative, np.array([1.0]))
        x, h = solvers.step(table.row(index), x, model.denoise(x, *told), h)
    assert abs(x.std() - 1) < 0.05
    assert abs((x[:, :, 1:] * x[:, :, :-1]).mean() - model.smoothness) < 0.05
