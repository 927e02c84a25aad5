from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from safa_stream import stream
from safa_stream.continuation import StreamPlan, StreamState, past_shares
from safa_stream.errors import LayoutError, SnapshotError, UsageError
from safa_stream.layout import ViewLayout
from safa_stream.operators import average, past_share, triangular
from safa_stream.scene import parse_prompts
from safa_stream.solvers import step
from safa_stream.swap import DEFAULT_SCHEDULE, KINDS, SwapSchedule
from tests.toy import ToyModel, World, toy

LAYOUT = ViewLayout(40, 8)


def plan_for(model: ToyModel, steps: int = 6, layout: ViewLayout = LAYOUT, **changes: Any) -> StreamPlan:
    return StreamPlan(layout, model.solver(steps), **changes)


def run(model: ToyModel, plan: StreamPlan, views: int, prompt: str = "low") -> tuple[StreamState, np.ndarray]:
    encoded, state, hops = model.encode(parse_prompts(prompt), (), 0), stream.begin(plan), []
    for _ in range(views):
        state, hop = stream.advance(model, plan, state, encoded, 1.5)
        hops.append(model.to_numpy(hop))
    return state, np.concatenate([*hops, model.to_numpy(stream.flush(state))], axis=1)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_frames_that_the_schedule_names_equal_the_pasts_and_the_others_do_not(world: World, kind: str) -> None:
    model = toy(world)
    plan = plan_for(model, schedule=SwapSchedule(kind), method="safa-self")
    state, _ = run(model, plan, 1)
    assert state.past is not None
    past = model.to_numpy(state.past.states)
    _, hop = stream.advance(model, plan, state, model.encode(parse_prompts("low"), (), 0), 1.5)
    mask, overlap = plan.schedule.mask(5, 6, 8), model.to_numpy(hop)[:, :8]
    assert np.array_equal(overlap[:, mask], past[-1][:, mask])
    assert not (overlap[:, ~mask] == past[-1][:, ~mask]).any()


def test_views_take_their_mean_over_mid_from_the_reference() -> None:
    model = toy()
    middle = slice(8, 32)
    means, references = [], []
    for level in (True, False):
        plan = plan_for(model, reference_ratio=1.0, reference_interval=24, reference_roll=False, reference_level=level)
        state, frames = run(model, plan, 2)
        second = frames[:, 32:72]
        means.append(second[:, middle].mean(1))
        references.append(model.to_numpy(state.references[0][1].trajectory.states)[-1][:, middle].mean(1))
    assert np.allclose(means[0], references[0], atol=1e-5)
    assert not np.allclose(means[1], references[1], atol=1e-2)


@pytest.mark.parametrize("method, operator", [("average", average), ("triangular", triangular)])
def test_averages_are_the_operators_over_the_past_and_the_views_own(
    method: str, operator: Callable[..., np.ndarray]
) -> None:
    # With one solver step nothing feeds back, so the view's own frames are those of plain sampling.
    model = toy()
    plan = plan_for(model, steps=1, method=method)
    state, _ = run(model, plan, 1)
    assert state.past is not None
    encoded = model.encode(parse_prompts("low"), (), 0)
    _, hop = stream.advance(model, plan, state, encoded, 1.5)
    alone = StreamState(index=1)
    _, own = stream.advance(model, plan, alone, encoded, 1.5)
    expected = operator(state.past.states[-1], own[:, :8])
    assert np.allclose(hop[:, :8], expected, atol=1e-6)
    assert np.array_equal(hop[:, 8:], own[:, 8:])


@pytest.mark.parametrize("method", ["average", "triangular"])
def test_averaging_works_at_the_overlap_of_multidiffusion(method: str) -> None:
    model = toy()
    plan = plan_for(model, layout=ViewLayout(40, 32), method=method)
    state, made = run(model, plan, 7)
    assert made.shape == (2, 7 * 8 + 32, 3)
    shares = past_shares(plan, state)
    assert shares is not None and np.allclose(shares[0], past_share(40, 32, 7, method))


def test_the_history_of_a_multistep_solver_moves_with_the_state() -> None:
    # Frames of this model are independent, so the overlap can be followed by hand from where the past let go of it.
    model = toy()
    model.smoothness = 0.0
    plan = plan_for(model, schedule=SwapSchedule("cached-then-free", share=0.5), method="safa-self")
    state, _ = run(model, plan, 1, "low")
    assert plan.table.multistep and state.past is not None and state.past.history is not None
    other = model.encode(parse_prompts("high"), (), 0)
    _, hop = stream.advance(model, plan, state, other, 1.5)
    x, h = state.past.states[3][None], state.past.history[3][None]
    for index in range(3, 6):
        told = (np.array([plan.table.timesteps[index]]), other.conditioning, other.negative, np.array([1.5]))
        x, h = step(plan.table.row(index), x, model.denoise(x, *told), h)
    assert np.allclose(hop[:, :8], x[0], atol=1e-5)


def test_the_reference_is_made_with_the_first_view_and_never_again() -> None:
    model = toy()
    run(model, plan_for(model, steps=10, reference_ratio=0.25), 3)
    assert model.calls == [2, 2, 2] + [1] * 7 + [1] * 20


def test_views_differ_although_they_borrow_from_one_reference() -> None:
    model = toy()
    _, made = run(model, plan_for(model, reference_ratio=1.0), 3)
    _, still = run(model, plan_for(model, reference_ratio=1.0, reference_roll=False), 3)
    lent = np.arange(9, 32, 2)
    assert np.array_equal(still[:, lent], still[:, 32 + lent])
    assert not np.array_equal(made[:, lent], made[:, 32 + lent])
    # The first view's reference is not turned: both begin alike.
    assert np.array_equal(made[:, :32], still[:, :32])


def test_a_morph_borrows_from_both_references_and_then_drops_the_old_one() -> None:
    model = toy()
    plan = plan_for(model, steps=10)
    old, new = (model.encode(parse_prompts(words), (), 0) for words in ("low", "high"))
    state, _ = stream.advance(model, plan, stream.begin(plan), old, 1.0)
    model.calls.clear()
    state, _ = stream.advance(model, plan, state, [(old, 0.6), (new, 0.4)], 1.0)
    assert model.calls == [2, 2, 2] + [1] * 7 and len(state.references) == 2
    state, _ = stream.advance(model, plan, state, [(old, 0.2), (new, 0.8)], 1.0)
    assert model.calls[10:] == [1] * 10
    state, _ = stream.advance(model, plan, state, new, 1.0)
    assert model.calls[20:] == [1] * 10 and len(state.references) == 1


def test_a_morph_moves_the_sound_from_one_prompt_to_the_other() -> None:
    model = toy(latent_channels=1, latent_bins=1)
    old, new = (model.encode(parse_prompts(words), (), 0) for words in ("low", "high"))
    low, high = (float(part.conditioning.tensors["mean"].ravel()[0]) for part in (old, new))
    distance = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        levels = []
        for seed in range(24):
            one = plan_for(model, steps=8, seed=seed)
            parts = [(old, 1 - share), (new, share)] if 0 < share < 1 else (old if share == 0 else new)
            _, hop = stream.advance(model, one, stream.begin(one), parts, 1.0)
            levels.append(float(hop.mean()))
        distance.append((np.mean(levels) - low) / (high - low))
    assert np.allclose(distance, [0, 0.25, 0.5, 0.75, 1.0], atol=0.2) and (np.diff(distance) > 0).all()


def test_a_fast_morph_weights_what_each_prompt_gives_frame_by_frame(world: World) -> None:
    """Frames of this model know nothing of each other and depend on their prompt in a line: so does the view."""
    model = ToyModel(world, smoothness=0.0)
    plan = plan_for(model, reference_ratio=0.0)
    old, new = (model.encode(parse_prompts(words), (), 0) for words in ("low", "high"))
    weights = np.clip((np.arange(40) - 10) / 16, 0.0, 1.0)
    made = {}
    for name, told in {"old": old, "new": new, "morph": [(old, 1 - weights), (new, weights)]}.items():
        state, first = stream.advance(model, plan, stream.begin(plan), old, 1.5)
        model.calls.clear()
        _, hop = stream.advance(model, plan, state, told, 1.5)
        made[name] = model.to_numpy(hop)
    assert model.calls == [2] * plan.table.steps, "a row for each prompt"
    share = weights[None, :32, None]
    assert np.allclose(made["morph"], (1 - share) * made["old"] + share * made["new"], atol=1e-4)
    assert not np.allclose(made["old"], made["new"], atol=0.1)


def test_a_fast_morph_borrows_from_each_reference_where_its_prompt_is_heard() -> None:
    model = toy()
    plan = plan_for(model, steps=4, reference_ratio=1.0, reference_level=False, reference_roll=False)
    old, new = (model.encode(parse_prompts(words), (), 0) for words in ("low", "high"))
    weights = np.where(np.arange(40) < 20, 0.0, 1.0)
    made = {
        name: stream.advance(model, plan, stream.begin(plan), told, 1.0)[1]
        for name, told in {"old": old, "new": new, "morph": [(old, 1 - weights), (new, weights)]}.items()
    }
    lent = np.arange(9, 32, 2)
    before, after = lent[lent < 20], lent[lent >= 20]
    assert np.array_equal(made["morph"][:, before], made["old"][:, before])
    assert np.array_equal(made["morph"][:, after], made["new"][:, after])


@pytest.mark.parametrize("context", [True, False])
def test_a_model_that_takes_context_is_told_the_finished_overlap(context: bool) -> None:
    model = toy(takes_context=True)
    plan = plan_for(model, schedule=SwapSchedule("cached", context=context))
    run(model, plan, 2)
    first, second = model.contexts[:6], model.contexts[6:]
    assert all(known is None for known in first)
    for known in second:
        assert (known is not None) == context
        if known is not None:
            assert known.shape == (1, 40) and known[0, :8].all() and not known[0, 8:].any()


def test_the_model_is_told_just_the_frames_that_the_step_takes_from_the_past() -> None:
    model = toy(takes_context=True)
    plan = plan_for(model, schedule=SwapSchedule("cut-left", averaged=0.2))
    run(model, plan, 2)
    for index, known in enumerate(model.contexts[6:]):
        expected = plan.schedule.weights(index, 6, 8) == 1
        assert np.array_equal(known[0, :8] == 1, expected) and not known[0, 8:].any()


@pytest.mark.parametrize("schedule, lowest", [(SwapSchedule("cached"), 0.9), (DEFAULT_SCHEDULE, 0.75)])
def test_told_the_past_an_exact_model_continues_without_a_seam(schedule: SwapSchedule, lowest: float) -> None:
    """At no frame border around a join do latents change more than inside, on average over many latents and seeds."""
    model = toy(takes_context=True, latent_channels=8, latent_bins=8)
    changes = []
    for seed in range(6):
        plan = plan_for(model, steps=10, seed=seed, method="safa-self", schedule=schedule)
        changes.append(np.abs(np.diff(run(model, plan, 5)[1], axis=1)).mean((0, 2)))
    change = np.mean(changes, axis=0)
    borders = np.mean([change[view * 32 - 2 : view * 32 + 10] for view in range(1, 5)], axis=0)
    interior = np.mean([change[view * 32 + 11 : view * 32 + 29] for view in range(5)])
    assert (borders / interior).max() < 1.1 and (borders / interior).min() > lowest


def test_independent_views_share_nothing() -> None:
    model = toy()
    plan = plan_for(model, method="independent")
    state, made = run(model, plan, 2)
    again, _ = stream.advance(model, plan, StreamState(index=1), model.encode(parse_prompts("low"), (), 0), 1.5)
    assert state.past is not None and again.past is not None
    assert np.array_equal(state.past.states, again.past.states)
    assert np.isfinite(made).all()


def test_no_overlap_and_overlaps_without_a_middle_work() -> None:
    for layout in (ViewLayout(40, 0), ViewLayout(40, 20)):
        model = toy()
        _, made = run(model, plan_for(model, layout=layout), 3)
        assert made.shape[1] == layout.linear_width(3)


def test_a_state_survives_a_snapshot_bit_for_bit(world: World) -> None:
    model = toy(world)
    plan = plan_for(model)
    state, _ = run(model, plan, 2)
    again = StreamState.from_tensors(state.to_tensors(model), model)
    encoded = model.encode(parse_prompts("low"), (), 0)
    hops = [model.to_numpy(stream.advance(model, plan, one, encoded, 1.5)[1]) for one in (state, again)]
    assert np.array_equal(*hops)
    with pytest.raises(SnapshotError, match="stream/index"):
        StreamState.from_tensors({}, model)


def test_plans_that_cannot_be_are_refused() -> None:
    model = toy()
    with pytest.raises(UsageError, match="blend"):
        plan_for(model, method="blend")
    with pytest.raises(UsageError, match="reference ratio"):
        plan_for(model, reference_ratio=1.5)
    with pytest.raises(LayoutError, match="half"):
        plan_for(model, layout=ViewLayout(40, 32))
    with pytest.raises(UsageError, match="flush"):
        stream.flush(stream.begin(plan_for(model)))


def test_a_firmer_view_makes_its_reference_again_for_more_steps() -> None:
    model = toy()
    encoded = model.encode(parse_prompts("low"), (), 0)
    plan = plan_for(model, steps=10, reference_ratio=0.2)
    state, _ = run(model, plan, 1)
    firm = plan_for(model, steps=10, reference_ratio=0.8)
    after, _ = stream.advance(model, firm, state, encoded, 1.5)
    (_, before), (_, again) = state.references[0], after.references[0]
    assert (before.trajectory.steps, again.trajectory.steps) == (2, 8)
    assert np.allclose(again.trajectory.states[:3], before.trajectory.states, atol=1e-6)
    usual, _ = stream.advance(model, plan, after, encoded, 1.5)
    assert usual.references[0][1] is again


def test_views_of_other_step_counts_join_at_their_own_noise_levels() -> None:
    model = toy()
    encoded = model.encode(parse_prompts("low"), (), 0)
    state, _ = run(model, plan_for(model, steps=12), 1)
    jumps = []
    for steps in (12, 5, 20):
        plan = plan_for(model, steps=steps)
        after, hop = stream.advance(model, plan, state, encoded, 1.5)
        assert state.past is not None
        joined = np.concatenate([state.past.states[-1][:, :1], hop], axis=1)
        jumps.append(float(np.abs(np.diff(joined, axis=1)).mean()))
        assert np.allclose(hop[:, :4], state.past.states[-1][:, :4], atol=1e-5), "the past's first frames stay its own"
        assert after.past is not None and after.past.steps == steps
    assert max(jumps) < 1.5 * min(jumps)


def test_a_view_can_begin_at_any_frame_that_has_a_past() -> None:
    model = toy()
    encoded = model.encode(parse_prompts("low"), (), 0)
    plan = plan_for(model)
    view = stream.View(model, plan, stream.begin(plan), encoded, 1.5)
    while not view.done:
        stream.step_views(model, [view])
    made = view.finish()
    early = StreamState(1, made.trajectory.frames(10, 18), made.state.references, 10 - plan.layout.hop)
    assert early.frame(plan) == 10
    _, hop = stream.advance(model, plan, early, encoded, 1.5)
    assert np.allclose(hop[:, :4], made.trajectory.states[-1][:, 10:14], atol=1e-5)


def test_views_join_a_past_whose_solver_kept_no_history() -> None:
    model = toy()
    encoded = model.encode(parse_prompts("low"), (), 0)
    state, _ = run(model, plan_for(model, steps=8), 1)
    for steps in (2, 8, 3, 12):
        plan = plan_for(model, steps=steps)
        before = state.past
        state, hop = stream.advance(model, plan, state, encoded, 1.5)
        assert before is not None
        assert np.isfinite(hop).all()
        assert np.allclose(hop[:, :4], before.states[-1][:, :4], atol=1e-5)
