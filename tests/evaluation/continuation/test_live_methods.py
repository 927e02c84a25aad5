"""Laws of the ways to go on: what each gives, what it keeps, and that nothing but the seed decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from safa_stream import stream
from safa_stream.continuation import StreamPlan
from safa_stream.errors import UsageError
from safa_stream.evaluation.continuation import making
from safa_stream.evaluation.continuation.fifo import Queue
from safa_stream.evaluation.continuation.ground import Ground, bytes_of
from safa_stream.evaluation.continuation.lookahead import LookAhead, level, merge
from safa_stream.evaluation.continuation.methods import METHODS, Method, chosen
from safa_stream.evaluation.continuation.outpainting import Outpainting, paint
from safa_stream.evaluation.generate import Settings, encode
from safa_stream.swap import SwapSchedule
from tests.toy import ToyModel, World, toy

LIVE = [method for method in METHODS.values() if method.live]


def ground_of(world: World | None = None, seed: int = 3, steps: int = 4) -> Ground:
    model = toy(takes_context=True) if world is None else toy(world, takes_context=True)
    return making.ground_of(model, Settings(3, steps), seed)


@pytest.mark.parametrize("method", ["safa", "safa-self", "average"])
def test_nothing_ahead_is_the_stream_bit_for_bit(world: World, method: str) -> None:
    ground = ground_of(world)
    plan = StreamPlan(ground.layout, ground.table, SwapSchedule("cut-left", 0.25, kept=0.5), seed=3, method=method)
    told, live, state = encode(ground.model, "low", 3), LookAhead(ground, plan), stream.begin(plan)
    for _ in range(3):
        state, hop = stream.advance(ground.model, plan, state, told, ground.guidance)
        assert np.array_equal(ground.model.to_numpy(live.advance(told)), ground.model.to_numpy(hop))
    assert np.array_equal(ground.model.to_numpy(live.flush()), ground.model.to_numpy(stream.flush(state)))


def test_views_ahead_change_what_is_given_and_cost_a_row_each() -> None:
    ground = ground_of()
    plan = StreamPlan(ground.layout, ground.table, seed=3, method="safa-self")
    told, given = encode(ground.model, "low", 3), []
    for ahead in (0, 1, 2):
        model = toy(takes_context=True)
        live = LookAhead(replace(ground, model=model), plan, ahead)
        given.append([live.advance(told) for _ in range(2)])
        assert set(model.calls) == {1 + ahead} and all(hop.shape[1] == ground.layout.hop for hop in given[-1])
    assert not np.array_equal(given[0][0], given[1][0]) and not np.array_equal(given[1][0], given[2][0])
    pairs = LookAhead(ground, plan, ahead=1, given=2)
    assert pairs.advance(told).shape[1] == 2 * ground.layout.hop and pairs.state.index == 2


def test_merged_overlaps_are_alike_and_every_frame_is_one_parent_s(world: World) -> None:
    before = np.random.default_rng(0).standard_normal((3, 2, 10, 3)).astype(np.float32)
    rows = world.from_numpy(before.copy())
    mask = np.array([True, False, False, True])
    merge(rows, mask)
    after = world.to_numpy(rows)
    for left in range(2):
        right, begin = after[left, :, -4:], after[left + 1, :, :4]
        assert np.array_equal(right, begin)
        parents = np.where(mask[:, None], before[left, :, -4:], before[left + 1, :, :4])
        assert np.array_equal(right, parents)
    assert np.array_equal(after[:, :, 4:6], before[:, :, 4:6])


def test_level_gives_mid_the_reference_s_mean_and_moves_all_frames_alike() -> None:
    draw = np.random.default_rng(1)
    before, reference = draw.standard_normal((2, 2, 12, 3)), draw.standard_normal((2, 12, 3))
    rows = before.copy()
    level(rows, reference, 3)
    assert np.allclose(rows[:, :, 3:9].mean(2), reference[:, 3:9].mean(1))
    assert np.allclose(np.diff(rows, axis=2), np.diff(before, axis=2))


@pytest.mark.parametrize(("ahead", "levelled"), [(False, False), (True, False), (True, True)])
def test_a_running_queue_gives_a_block_a_pass_in_constant_memory(ahead: bool, levelled: bool) -> None:
    ground = ground_of()
    model, told = toy(), encode(ground.model, "low", 3)
    queue = Queue(replace(ground, model=model), 16, ahead, levelled)
    assert queue.advance(told).shape[1] == ground.layout.view
    assert model.calls == [1, 2, 3, 4]
    held = []
    for _ in range(4):
        assert queue.advance(told).shape[1] == 16
        held.append((bytes_of(queue.held), queue.begun))
    assert model.calls[4:] == [4] * 4
    assert len(set(held)) == 1 and queue.begun == 3 * 16


def test_a_queue_of_one_block_is_plain_sampling() -> None:
    ground = ground_of()
    told = encode(ground.model, "low", 3)
    first = Queue(ground, 16, ahead=True, levelled=True).advance(told)
    assert np.allclose(first, paint(ground, 0, None, told), atol=1e-5)


def test_outpainting_keeps_what_is_known_and_returns_what_is_all_known() -> None:
    ground = ground_of()
    told, known = encode(ground.model, "low", 3), np.ones((2, 40, 3), np.float32)
    for again, context in ((0, False), (1, False), (0, True)):
        assert np.array_equal(paint(ground, 0, known[:, :8], told, again, context)[:, :8], known[:, :8])
    assert np.array_equal(paint(ground, 0, known, told), known)
    model = toy()
    Outpainting(replace(ground, model=model), again=1).advance(told)
    assert len(model.calls) == 4
    paint(replace(ground, model=model), 0, known[:, :8], told, again=1)
    assert len(model.calls) == 4 + 4 + 2  # neither the first step nor the last is made twice


def test_an_exact_denoiser_continues_what_is_known_across_the_end_of_it() -> None:
    """A past far from the mean is led on from: the next frame is nearer to it than an unrelated view's would be."""
    ground = replace(ground_of(steps=16), guidance=1.0)
    told, past = encode(ground.model, "low", 3), np.full((2, 8, 3), 4.0, np.float32)
    alone = paint(ground, 0, None, told)
    for again, context in ((0, False), (2, False), (0, True)):
        made = paint(ground, 0, past, told, again, context)
        assert np.abs(made[:, 8] - 4.0).mean() < 0.75 * np.abs(alone[:, 8] - 4.0).mean()


def test_renoised_states_have_the_level_s_spread_and_keep_the_clean_share() -> None:
    ground = ground_of(steps=8)
    clean = np.full((2, 400, 3), 5.0, np.float32)
    for step, level_ in enumerate(ground.levels[:-1]):
        shown = ground.renoised(clean, 8, step, "x", 0)
        assert abs(float(shown.mean()) - 5.0 * level_.alpha) < 0.1
        assert abs(float(shown.std()) - level_.sigma) < 0.06
    half = ground.renoised(ground.renoised(clean, 8, 5, "a", 0), 5, 2, "b", 0)
    assert abs(float(half.std()) - ground.levels[2].sigma) < 0.06


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_the_seed_alone_decides_and_sounds_are_as_long_as_asked(method: Method) -> None:
    def sound(seed: int) -> making.Take:
        ground = ground_of(seed=seed, steps=2)
        return making.take(ground, method, making.always(encode(ground.model, "low", seed)), 3)

    first, again, other = sound(3), sound(3), sound(4)
    width = ground_of().layout.linear_width(3)
    assert first.samples.shape == (2, width * 16)
    assert np.array_equal(first.samples, again.samples) and not np.array_equal(first.samples, other.samples)
    assert all(cost.rows > 0 for cost in first.costs)


@pytest.mark.parametrize("method", LIVE, ids=lambda method: method.name)
def test_the_steady_cost_is_what_the_method_says(method: Method) -> None:
    ground = ground_of(steps=12)
    told = making.always(encode(ground.model, "low", 3))
    costs = [cost for (_, cost, _), _ in zip(making.pieces(ground, method, told), range(4), strict=False)][1:]
    a_hop = sum(cost.rows for cost in costs) / sum(cost.frames for cost in costs) * ground.layout.hop / 12
    assert a_hop == pytest.approx(method.cost, rel=0.01)


def test_a_change_is_told_from_the_first_piece_after_it() -> None:
    ground = ground_of()
    before, after = (encode(ground.model, prompt, 3) for prompt in ("low", "high"))
    made = making.take(ground, METHODS["stream"], making.changing(before, after, 50), 5)
    assert made.change == 64  # the first whole number of hops of 32 frames that reaches 50


def test_unknown_methods_and_samplers_that_are_no_flows_are_refused() -> None:
    with pytest.raises(UsageError, match="no method is called magic"):
        chosen(("magic",))
    assert {method.name for method in chosen(("joint",))} == {"stream", "joint"}
    ground = ground_of()
    table = replace(ground.table, timesteps=(999.0, 500.0, 250.0, 1.0))
    with pytest.raises(UsageError, match="flows only"):
        paint(replace(ground, table=table), 0, np.zeros((2, 8, 3), np.float32), encode(ground.model, "low", 3))


def test_a_toy_of_another_world_goes_through_every_live_method(world: World) -> None:
    for method in LIVE:
        ground = ground_of(world, steps=2)
        assert isinstance(ground.model, ToyModel)
        assert making.take(ground, method, making.always(encode(ground.model, "low", 3)), 2).samples.shape[0] == 2
