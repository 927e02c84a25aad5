"""Law: merging copies frames. What the denoiser is given next holds, frame by frame, exactly one parent's frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from safa_stream import joint, stream
from safa_stream.continuation import StreamPlan
from safa_stream.layout import ViewLayout
from safa_stream.operators import self_loop_mask
from safa_stream.scene import parse_prompts
from safa_stream.solvers import SolverTable, ddim
from safa_stream.swap import KINDS, SwapSchedule
from tests.toy import ToyModel, World

LAYOUT, STEPS, GUIDED = ViewLayout(40, 8), 6, 2
TIMES = [1 - index / STEPS for index in range(STEPS + 1)]


@dataclass
class Watched(ToyModel):
    """Keeps every (input, output) of the denoiser."""

    seen: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def denoise(self, latents: Any, *args: Any, **kwargs: Any) -> Any:
        made = super().denoise(latents, *args, **kwargs)
        self.seen.append((self.to_numpy(latents).copy(), self.to_numpy(made).copy()))
        return made

    def solver(self, steps: int) -> SolverTable:
        # One-step, so that a state before merging is a function of the denoiser's input and output.
        return ddim([1 - t for t in TIMES], TIMES, TIMES[:-1], "sample")

    def unmerged(self, first_call: int, index: int) -> np.ndarray:
        """All rows after solver step `index`, before anything is merged."""
        x, m = self.seen[first_call + index]
        row = self.solver(STEPS).row(index)
        return np.asarray(np.float32(row.A) * x + np.float32(row.B) * m)


def equal_frames(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which frames of [C, T, F] arrays are the same, up to the rounding of repeating a solver step."""
    return np.asarray(np.abs(a - b).max((0, 2)) < 1e-6)


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("interval", [1, 2])
def test_joint(world: World, circular: bool, interval: int) -> None:
    model, n = Watched(world), 3
    plan = joint.JointPlan(LAYOUT, model.solver(STEPS), "safa", interval, GUIDED / STEPS, circular)
    joint.generate(model, plan, n, model.encode(parse_prompts("low"), (), 0), 1.5)
    mask, lent = self_loop_mask(8, interval), self_loop_mask(24, interval)
    for index in range(STEPS - 1):
        before, after = model.unmerged(0, index), model.seen[index + 1][0]
        for left in range(n if circular else n - 1):
            right = (left + 1) % n
            merged = after[left, :, 32:]
            assert np.array_equal(merged, after[right, :, :8])
            of_left, of_right = (
                equal_frames(merged, before[left, :, 32:]),
                equal_frames(merged, before[right, :, :8]),
            )
            # After the first step both parents are alike: they share the noise, and pure noise tells them nothing.
            assert np.array_equal(of_left, mask) if index else of_left[mask].all()
            assert np.array_equal(of_right, ~mask) if index else of_right[~mask].all()
        for view in range(n):
            middle = after[view, :, 8:32]
            own = equal_frames(middle, before[view, :, 8:32])
            if index < GUIDED:
                assert np.array_equal(own, ~lent)
                assert np.array_equal(equal_frames(middle, before[n, :, 8:32]), lent)
            else:
                assert own.all()
        if index < GUIDED - 1:
            assert equal_frames(after[n], before[n]).all(), "the reference never receives a swap"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_stream(world: World, kind: str) -> None:
    model = Watched(world)
    plan = StreamPlan(
        LAYOUT,
        model.solver(STEPS),
        SwapSchedule(kind),
        GUIDED / STEPS,
        reference_roll=False,
        reference_level=False,
    )
    encoded = model.encode(parse_prompts("low"), (), 0)
    first, _ = stream.advance(model, plan, stream.begin(plan), encoded, 1.5)
    model.seen.clear()
    stream.advance(model, plan, first, encoded, 1.5)
    assert first.past is not None
    past = model.to_numpy(first.past.states)
    reference = model.to_numpy(first.references[0][1].trajectory.states)
    lent = self_loop_mask(24)
    for index in range(STEPS - 1):
        before, after = model.unmerged(0, index)[0], model.seen[index + 1][0][0]
        mask = plan.schedule.mask(index, STEPS, 8)
        assert np.array_equal(after[:, :8][:, mask], past[index + 1][:, mask])
        of_own = equal_frames(after[:, :8], before[:, :8])
        assert np.array_equal(of_own, ~mask) if index else of_own[~mask].all()
        own = equal_frames(after[:, 8:32], before[:, 8:32])
        if index < GUIDED:
            assert np.array_equal(own, ~lent)
            assert np.array_equal(after[:, 8:32][:, lent], reference[index + 1][:, 8:32][:, lent])
        else:
            assert own.all()
        assert equal_frames(after[:, 32:], before[:, 32:]).all()
