"""Law: where there is nothing to join, the engine is the sampler and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream import joint, stream
from safa_stream.continuation import StreamPlan
from safa_stream.layout import ViewLayout
from safa_stream.noise import noise
from safa_stream.scene import parse_prompts
from safa_stream.solvers import step
from tests.toy import ToyModel, World, toy

LAYOUT = ViewLayout(40, 8)


def plain(model: ToyModel, seed: int, steps: int = 7) -> np.ndarray:
    """One view, sampled by hand from the stream's first noise."""
    encoded, table = model.encode(parse_prompts("low"), (), 0), model.solver(steps)
    x = model.from_numpy(noise(seed, "view", 0, 40, 2, 3)[None])
    h = x * 0
    for index, t in enumerate(table.timesteps):
        told = (model.from_numpy([t]), encoded.conditioning, encoded.negative, model.from_numpy([1.5]))
        x, h = step(table.row(index), x, model.denoise(x, *told), h)
    return np.asarray(model.to_numpy(x[0]))


@pytest.mark.parametrize("method, ratio", [("safa-self", 0.3), ("safa", 0.0), ("average", 0.3), ("triangular", 0.3)])
def test_joint_with_one_view(world: World, method: str, ratio: float) -> None:
    model = toy(world)
    plan = joint.JointPlan(LAYOUT, model.solver(7), method, reference_ratio=ratio, seed=11)
    made = joint.generate(model, plan, 1, model.encode(parse_prompts("low"), (), 0), 1.5)
    assert np.allclose(model.to_numpy(made), plain(model, 11), atol=1e-6)


@pytest.mark.parametrize("method, ratio", [("safa-self", 0.3), ("safa", 0.0), ("average", 0.3), ("triangular", 0.3)])
def test_the_first_view_of_a_stream(world: World, method: str, ratio: float) -> None:
    model = toy(world)
    plan = StreamPlan(LAYOUT, model.solver(7), reference_ratio=ratio, seed=11, method=method)
    encoded = model.encode(parse_prompts("low"), (), 0)
    state, hop = stream.advance(model, plan, stream.begin(plan), encoded, 1.5)
    view = np.concatenate([model.to_numpy(hop), model.to_numpy(stream.flush(state))], axis=1)
    assert np.array_equal(view, plain(model, 11))


def test_the_references_flanks_and_end_are_plain_sampling_too(world: World) -> None:
    model = toy(world)
    plan = StreamPlan(LAYOUT, model.solver(7), reference_ratio=1.0, seed=11)
    encoded = model.encode(parse_prompts("low"), (), 0)
    state, _ = stream.advance(model, plan, stream.begin(plan), encoded, 1.5)
    kept = state.references[0][1].trajectory.states[-1]
    x = model.from_numpy(noise(11, "reference", 0, 40, 2, 3)[None])
    h = x * 0
    table = plan.table
    for index, t in enumerate(table.timesteps):
        told = (model.from_numpy([t]), encoded.conditioning, encoded.negative, model.from_numpy([1.5]))
        x, h = step(table.row(index), x, model.denoise(x, *told), h)
    assert np.allclose(model.to_numpy(kept), model.to_numpy(x[0]), atol=1e-6)
