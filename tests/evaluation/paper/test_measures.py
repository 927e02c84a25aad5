"""Divergences, cosines and errors whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream.evaluation.embedding import Projection
from safa_stream.evaluation.paper import measures


def test_shares_sum_to_one_and_no_class_is_impossible() -> None:
    found = measures.shares([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert found.sum() == pytest.approx(1.0)
    assert found == pytest.approx([2 / 3, 0.0, 1 / 3], abs=1e-6) and found[1] > 0


def test_the_divergence_is_the_formula_and_nothing_for_equals() -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    assert measures.divergence(p, q) == pytest.approx(0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1))
    assert measures.divergence(p, p) == 0.0


def test_cosines_of_pairs_and_with_a_direction() -> None:
    rows = [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]
    assert measures.mean_cosine(rows) == pytest.approx((0.0 + 1.0 + 0.0) / 3)
    assert np.isnan(measures.mean_cosine(rows[:1]))
    assert measures.cosine_to(rows, [5.0, 0.0]) == pytest.approx(2 / 3)


def test_set_distances_compare_sets_of_one_size_in_one_space() -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(400, 12)).astype(np.float32)
    project = Projection.fit(rows, measures.components_for(400, 12), whiten=False)
    same = measures.set_distance(rows, draw.normal(size=(400, 12)).astype(np.float32), project, 400)
    moved = measures.set_distance(rows, rows + 1.0, project, 400)
    assert moved == pytest.approx(12.0, rel=0.02) and same < 0.5
    # Fewer rows tell less: the distance of two equal sets grows.
    fewer = measures.set_distance(rows, draw.normal(size=(400, 12)).astype(np.float32), project, 40)
    assert fewer > same


def test_components_leave_two_windows_for_each() -> None:
    assert measures.components_for(30, 1024) == 15
    assert measures.components_for(10_000, 1024) == measures.COMPONENTS
    assert measures.components_for(10_000, 8) == 8 and measures.components_for(1, 8) == 1


def test_errors_of_means_from_clips_and_from_leaving_clips_out_agree() -> None:
    values = np.random.default_rng(1).normal(size=30)
    without = [float(np.delete(values, at).mean()) for at in range(30)]
    assert measures.jackknife_error(without) == pytest.approx(measures.standard_error(list(values)))
    assert np.isnan(measures.standard_error([1.0])) and np.isnan(measures.jackknife_error([]))
