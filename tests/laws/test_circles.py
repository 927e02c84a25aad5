"""Law: a loop has no seam. Tiled twice, nothing at the join stands out from what is inside."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream import engine, joint
from safa_stream.layout import ViewLayout
from safa_stream.scene import Scene, parse_prompts
from tests.toy import ToyDecoder, World, toy

LAYOUT = ViewLayout(40, 8)


@pytest.mark.parametrize("method", ["safa", "safa-self", "average", "triangular", "independent"])
def test_the_latents_change_at_the_border_as_at_every_other_join(method: str) -> None:
    model, views = toy(latent_channels=8, latent_bins=8), 4
    encoded = model.encode(parse_prompts("low"), (), 0)
    changes = []
    for seed in range(8):
        plan = joint.JointPlan(LAYOUT, model.solver(8), method, circular=True, seed=seed)
        tiled = np.concatenate([joint.generate(model, plan, views, encoded, 1.0)] * 2, axis=1)
        changes.append(np.abs(np.diff(tiled, axis=1)).mean((0, 2)))
    change = np.mean(changes, axis=0)
    for offset in range(-4, 12):
        border = change[views * 32 - 1 + offset]
        others = np.array([change[view * 32 - 1 + offset] for view in range(1, views)])
        assert border < 1.15 * others.mean(), f"{offset} frames from the border"


@pytest.mark.parametrize("method", ["safa", "average", "independent"])
@pytest.mark.parametrize("seconds", [2.56, 3.84, 5.0])
def test_the_sound_jumps_no_further_at_the_border(world: World, method: str, seconds: float) -> None:
    model = toy(world)
    model.sampled_decoder = ToyDecoder(hiss=1.0)
    jumps, border = [], []
    for seed in range(6):
        scene = Scene(parse_prompts("low"), seed=seed, method=method, mode="joint", loop=True)
        loop = engine.whole(model, scene, seconds)
        tiled = np.abs(np.diff(np.concatenate([loop, loop], axis=1), axis=1))
        jumps.append(tiled[:, : loop.shape[1] - 1].ravel())
        border.append(tiled[:, loop.shape[1] - 1])
    assert np.max(border) <= np.percentile(np.concatenate(jumps), 99.9)
    assert np.mean(border) < 1.5 * np.mean(np.concatenate(jumps))


def test_loops_of_fitted_and_of_whole_hops_agree_where_they_are_the_same() -> None:
    model = toy()
    plan = joint.JointPlan(LAYOUT, model.solver(5), circular=True)
    encoded = model.encode(parse_prompts("low"), (), 0)
    whole = joint.generate(model, plan, 3, encoded, 1.0)
    fitted = joint.generate(model, plan, LAYOUT.loop_spans(96), encoded, 1.0, width=96)
    assert np.array_equal(whole, fitted)
