"""Fréchet distance, probe and embeddings on sets whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safa_stream.errors import UsageError
from safa_stream.evaluation import frechet, probe
from safa_stream.evaluation.embedding import Projection, Statistics, embedder

RATE = 48_000


def test_the_distance_of_a_set_to_itself_is_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 8))
    assert frechet.frechet_distance(rows, rows) == pytest.approx(0.0, abs=1e-6)


def test_the_distance_of_two_gaussians_is_the_formula() -> None:
    draw = np.random.default_rng(1)
    scale, shift = np.array([1.0, 2.0, 0.5]), np.array([1.0, 0.0, -2.0])
    one, two = draw.normal(size=(60_000, 3)), draw.normal(size=(60_000, 3)) * scale + shift
    assert frechet.frechet_distance(one, two) == pytest.approx((shift**2).sum() + ((scale - 1) ** 2).sum(), rel=0.03)


def test_shrinkage_matters_for_few_rows_and_not_for_many() -> None:
    draw = np.random.default_rng(2)
    for count, least, most in ((10, 0.0, 0.6), (20_000, 0.0, 0.03)):
        rows = draw.normal(size=(count, 6)) * np.arange(1, 7)
        away = np.linalg.norm(frechet.shrunk_covariance(rows) - np.cov(rows.T, bias=True))
        assert least < away / np.linalg.norm(np.cov(rows.T)) < most


def test_halves_keep_recordings_whole_and_are_about_equal() -> None:
    groups = ["a"] * 30 + ["b"] * 10 + ["c"] * 12 + ["d"] * 8
    first = frechet.halves(groups, np.random.default_rng(0))
    assert all(len(set(first[np.array(groups) == name])) == 1 for name in "abcd")
    assert first.sum() == 30
    alone = frechet.halves(["a"] * 9, np.random.default_rng(0))
    assert alone.sum() == 4


def texture(kind: str, seed: int, seconds: float = 4.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    hiss = draw.normal(0, 0.1, int(seconds * RATE))
    if kind == "rumble":
        hiss = np.cumsum(hiss) * 0.01
        hiss -= np.linspace(hiss[0], hiss[-1], len(hiss))
    return np.stack([hiss, hiss]).astype(np.float32)


def test_the_probe_tells_two_textures_apart_by_statistics_alone() -> None:
    source = Statistics()
    rows = {k: np.concatenate([source.embed(texture(k, s)) for s in range(8)]) for k in ("hiss", "rumble")}
    training = np.concatenate([rows["hiss"][:16], rows["rumble"][:16]])
    fitted = probe.fit(training, np.repeat([0, 1], 16), 2)
    assert (fitted.log_probabilities(rows["hiss"][16:]).argmax(1) == 0).all()
    assert (fitted.log_probabilities(rows["rumble"][16:]).argmax(1) == 1).all()
    assert np.exp(fitted.log_probabilities(training)).sum(1) == pytest.approx(1.0)


def test_the_probe_weighs_classes_equally() -> None:
    draw = np.random.default_rng(3)
    rows = np.concatenate([draw.normal(0.0, 1.0, (400, 1)), draw.normal(1.0, 1.0, (20, 1))])
    fitted = probe.fit(rows, np.repeat([0, 1], [400, 20]), 2, penalty=1e-4)
    middle = fitted.log_probabilities([[0.5]])[0]
    assert np.exp(middle[0]) == pytest.approx(0.5, abs=0.15)


def test_a_short_sound_still_has_one_window_and_levels_do_not_count() -> None:
    source = Statistics()
    short = texture("hiss", 0, 0.3)
    assert len(source.embed(short)) == 1
    loud, quiet = source.embed(texture("hiss", 0)), source.embed(texture("hiss", 0) * np.float32(0.25))
    assert np.abs(loud - quiet).max() < 0.02


def test_whitened_windows_have_unit_variance() -> None:
    rows = (np.random.default_rng(4).normal(size=(500, 6)) * np.arange(1, 7)).astype(np.float32)
    white = Projection.fit(rows, 4)(rows)
    assert white.shape == (500, 4)
    assert np.cov(white.T) == pytest.approx(np.eye(4), abs=0.01)


def test_a_missing_classifier_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no classifier at|pip install ai-edge-litert"):
        embedder(tmp_path / "none.tflite")
    assert embedder(None).name == "log-mel statistics"
