from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safa_stream import joint
from safa_stream.errors import LayoutError, UsageError
from safa_stream.layout import ViewLayout
from safa_stream.operators import self_loop_mask, view_window
from safa_stream.scene import METHODS, parse_prompts
from tests.toy import ToyModel, World, toy

LAYOUT = ViewLayout(40, 8)


def canvas(model: ToyModel, views: int, method: str = "safa", layout: ViewLayout = LAYOUT, **plan: Any) -> np.ndarray:
    settings = joint.JointPlan(layout, model.solver(6), method, **plan)
    encoded = model.encode(parse_prompts("low"), (), 0)
    return np.asarray(model.to_numpy(joint.generate(model, settings, views, encoded, 1.5)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("circular", [False, True])
def test_a_canvas_has_the_width_its_layout_says(method: str, circular: bool) -> None:
    made = canvas(toy(), 3, method, circular=circular)
    assert made.shape == (2, 3 * 32 if circular else 3 * 32 + 8, 3)
    assert np.isfinite(made).all()


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("interval", [1, 3])
def test_after_a_merge_neighbours_hold_the_same_frames_each_of_one_parent(
    world: World, circular: bool, interval: int
) -> None:
    rng = np.random.default_rng(0)
    before = rng.standard_normal((3, 2, 40, 3)).astype(np.float32)
    rows = world.from_numpy(before)
    model = toy(world)
    plan = joint.JointPlan(LAYOUT, model.solver(4), "safa-self", interval, circular=circular)
    spans = plan.spans(3)
    joint._join(plan, rows, spans, plan.width(spans))
    after, mask = world.to_numpy(rows), self_loop_mask(8, interval)
    for left, right in [(0, 1), (1, 2), (2, 0)] if circular else [(0, 1), (1, 2)]:
        merged = after[left, :, 32:]
        assert np.array_equal(merged, after[right, :, :8])
        assert np.array_equal(merged[:, mask], before[left, :, 32:][:, mask])
        assert np.array_equal(merged[:, ~mask], before[right, :, :8][:, ~mask])
    assert np.array_equal(after[:, :, 8:32], before[:, :, 8:32])


@pytest.mark.parametrize("method", ["average", "triangular"])
@pytest.mark.parametrize("layout", [LAYOUT, ViewLayout(40, 32)])
def test_averages_are_weighted_sums_over_all_views_that_cover_a_frame(
    world: World, method: str, layout: ViewLayout
) -> None:
    before = np.random.default_rng(1).standard_normal((9, 2, 40, 3)).astype(np.float32)
    rows = world.from_numpy(before)
    plan = joint.JointPlan(layout, toy(world).solver(4), method, circular=True)
    spans = plan.spans(9)
    width = plan.width(spans)
    joint._join(plan, rows, spans, width)
    window = view_window(40, method)
    total, weight = np.zeros((2, width, 3)), np.zeros(width)
    for index, span in enumerate(spans):
        for frame in range(40):
            total[:, (span.start + frame) % width] += window[frame] * before[index, :, frame]
            weight[(span.start + frame) % width] += window[frame]
    for index, span in enumerate(spans):
        where = (span.start + np.arange(40)) % width
        expected = total[:, where] / weight[where, None]
        assert np.allclose(world.to_numpy(rows)[index], expected, atol=1e-5)


def test_the_reference_lends_every_second_middle_frame_in_the_first_steps_only() -> None:
    model = toy()
    table = model.solver(10)
    plan = joint.JointPlan(LAYOUT, table, "safa", reference_ratio=0.3)
    encoded = model.encode((), (), 0)
    joint.generate(model, plan, 3, encoded, 1.0)
    assert model.calls == [4, 4, 4] + [3] * 7


def test_a_reference_that_guides_to_the_end_gives_all_views_its_frames() -> None:
    made = canvas(toy(), 3, "safa", reference_ratio=1.0)
    lent = np.arange(9, 32, 2)
    first, second = (made[:, view * 32 + lent] for view in (0, 1))
    assert np.array_equal(first, second)
    turned = canvas(toy(), 3, "safa", reference_ratio=1.0, reference_roll=True)
    assert not np.array_equal(turned[:, lent], turned[:, 32 + lent])


def test_batches_do_not_change_what_is_made(world: World) -> None:
    whole = canvas(toy(world), 5, max_batch=8)
    for size in (1, 2, 5):
        assert np.allclose(canvas(toy(world), 5, max_batch=size), whole, atol=1e-5)
    model = toy(world)
    canvas(model, 5, max_batch=2)
    assert max(model.calls) == 2


def test_a_loop_of_any_length_is_made_from_fitted_views() -> None:
    model = toy()
    spans = LAYOUT.loop_spans(101)
    plan = joint.JointPlan(LAYOUT, model.solver(4), circular=True)
    made = joint.generate(model, plan, spans, model.encode((), (), 0), 1.0, width=101)
    assert made.shape == (2, 101, 3)


def test_progress_is_reported_after_every_step() -> None:
    model, seen = toy(), []
    plan = joint.JointPlan(LAYOUT, model.solver(4))
    encoded = model.encode((), (), 0)
    joint.generate(model, plan, 2, encoded, 1.0, lambda done, steps: seen.append((done, steps)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_plans_that_cannot_be_are_refused() -> None:
    table = toy().solver(4)
    with pytest.raises(UsageError, match="blend"):
        joint.JointPlan(LAYOUT, table, "blend")
    with pytest.raises(LayoutError, match="half"):
        joint.JointPlan(ViewLayout(40, 30), table, "safa")
    with pytest.raises(UsageError, match="batch"):
        joint.JointPlan(LAYOUT, table, max_batch=0)
