"""Laws: the same scene and seed are the same samples, also across a snapshot; batches change them by rounding only."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from safa_stream import engine
from safa_stream.scene import METHODS, PromptChange, Scene, parse_prompts
from safa_stream.swap import SwapSchedule
from tests.toy import ToyDecoder, ToyModel, World, toy

CHANGES = (
    PromptChange(2.0, parse_prompts("high"), 3.0),
    PromptChange(4.0, parse_prompts("low:0.5, other"), 2.0),
)


def model_of(world: World) -> ToyModel:
    model = toy(world, takes_context=True)
    model.sampled_decoder = ToyDecoder(hiss=0.5, remembers=True)
    return model


def scene_of(method: str, seed: int = 5) -> Scene:
    return Scene(parse_prompts("low"), negative=parse_prompts("noise"), seed=seed, method=method, changes=CHANGES)


@pytest.mark.parametrize("method", METHODS)
def test_resumed_is_uninterrupted_bit_for_bit(world: World, method: str) -> None:
    model, scene = model_of(world), scene_of(method)
    uninterrupted = list(engine.chunks(model, scene, 9.0))
    for stop in range(len(uninterrupted) + 1):
        running = engine.chunks(model, scene, 9.0)
        before = list(itertools.islice(running, stop))
        saved = running.snapshot()
        for after in (engine.resume(model_of(world), saved), engine.chunks(model_of(world), scene, 9.0, saved)):
            resumed = [*before, *after]
            assert len(resumed) == len(uninterrupted)
            for one, other in zip(resumed, uninterrupted, strict=True):
                assert (one.start, one.sequence) == (other.start, other.sequence)
                assert np.array_equal(one.samples, other.samples)


def test_a_snapshot_keeps_an_endless_streams_schedule(world: World) -> None:
    model, scene = model_of(world), scene_of("safa")
    running = engine.chunks(model, scene, schedule=SwapSchedule("dither", averaged=0.2, context=False))
    next(running)
    resumed = engine.resume(model, running.snapshot())
    assert resumed.plan.schedule == running.plan.schedule
    assert np.array_equal(next(resumed).samples, next(running).samples)


def test_a_snapshot_changes_nothing_and_is_the_same_twice(world: World) -> None:
    running = engine.chunks(model_of(world), scene_of("safa"))
    next(running)
    assert running.snapshot() == running.snapshot()


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_samples_other_seed_other_samples(world: World, method: str) -> None:
    first, again, other = (
        np.concatenate([chunk.samples for chunk in engine.chunks(model_of(world), scene_of(method, seed), 4.0)], 1)
        for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("method", METHODS)
def test_numpy_and_torch_make_the_same_sound(world: World, method: str) -> None:
    from tests.toy import NUMPY

    here, there = (
        np.concatenate([chunk.samples for chunk in engine.chunks(model_of(one), scene_of(method), 4.0)], 1)
        for one in (world, NUMPY)
    )
    assert np.allclose(here, there, atol=1e-3)


def test_states_do_not_grow() -> None:
    running = engine.chunks(model_of(toy().world), scene_of("safa"))
    sizes = []
    for _ in range(30):
        next(running)
        sizes.append(len(running.snapshot()))
    assert max(sizes[12:]) == min(sizes[12:])
