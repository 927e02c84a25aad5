"""Takes: their lengths, what they cost as counted at the model, and the sampler that they are made with."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream.errors import LayoutError
from safa_stream.evaluation.generate import encode
from safa_stream.evaluation.paper import making
from safa_stream.evaluation.paper.methods import METHODS, Job, Method, chosen, open_to, paper_jobs
from safa_stream.solvers import builtin_table, ddim
from tests.toy import ToyModel
from tests.toy import toy as small


def make(model: ToyModel, name: str, views: int = 3, steps: int = 10) -> making.Take:
    return making.canvas(model, Job(METHODS[name], views, steps), encode(model, "low", 0), 2.0, 0)


def test_without_history_the_built_in_sampler_is_ddim() -> None:
    table = builtin_table(9, 1.5)
    levels = table.times
    expected = ddim([1 - t for t in levels], levels, table.timesteps, "sample")
    found = making.first_order(table)
    assert not found.multistep and found.timesteps == expected.timesteps
    assert found.A == pytest.approx(expected.A) and found.B == pytest.approx(expected.B)
    assert making.first_order(found) is found


def test_calls_are_counted_at_the_model(toy: ToyModel) -> None:
    # 40 frames a view: hop 32 at overlap 0.2, hop 8 at 0.8; the reference joins for 3 of 10 steps.
    assert [make(toy, name).calls for name in ("md", "md-star", "safa-star", "safa", "md-0.8")] == [30, 30, 30, 33, 120]
    assert make(toy, "safa").batches == 10 and make(toy, "md-0.8").batches == 20


def test_all_methods_make_the_same_length_in_hops(toy: ToyModel) -> None:
    made, left_out = open_to(toy, tuple(METHODS.values()))
    assert left_out.count("is left out") == 2 and len(made) == len(METHODS) - 2, "a formula has nothing to reach into"
    for name in (name for name, method in METHODS.items() if method in made):
        take = make(toy, name, steps=2)
        assert take.samples.shape == (2, 96 * 1920) and len(take.pieces) == 3
        assert take.latents.shape == (2, 96, 3)
        assert take.seconds >= take.denoise_seconds > 0


def test_native_views_share_nothing_and_new_noise_makes_new_ones(toy: ToyModel) -> None:
    encoded = encode(toy, "low", 0)
    first, again, other = (making.native(toy, 2, 2, encoded, 2.0, seed) for seed in (0, 0, making.OTHER_NOISE))
    assert [piece.shape for piece in first.pieces] == [(2, 40 * 1920)] * 2 and first.latents.shape == (2, 80, 3)
    assert (first.samples == again.samples).all()
    assert np.abs(first.samples - other.samples).max() > 0.1
    assert np.abs(first.pieces[0] - first.pieces[1]).max() > 0.1


def test_the_canvas_is_a_circle(toy: ToyModel) -> None:
    latents = make(toy, "md", steps=8).latents
    steps = np.abs(np.diff(latents, axis=1)).mean()
    assert np.abs(latents[:, 0] - latents[:, -1]).mean() < 3 * steps


def test_longer_canvases_are_made_by_safa_alone() -> None:
    jobs = paper_jobs(chosen(()), (3, 6, 9), 7)
    assert [(job.method.title, job.views) for job in jobs[-3:]] == [("SaFa", 3), ("SaFa", 6), ("SaFa", 9)]
    assert len(jobs) == len(METHODS) + 2 and {job.steps for job in jobs} == {7}
    assert len(paper_jobs(chosen(("md",)), (3, 6), 7)) == 1


def test_swapping_more_than_half_a_view_is_refused() -> None:
    with pytest.raises(LayoutError, match="at most half a view"):
        making.plan_of(small(), Job(Method("SaFa", "safa", 0.8), 3, 2), 0)
