"""What is heard of a take, and which network stands behind which column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safa_stream.evaluation.paper import run
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.paper.hearing import hear, open_ears
from safa_stream.evaluation.paper.making import Take
from safa_stream.evaluation.paper.methods import METHODS, paper_jobs
from tests.evaluation.paper.small_network import graph
from tests.toy import ToyModel


def take(rate: int = 48_000, pieces: int = 3, scale: float = 1.0) -> Take:
    draw = np.random.default_rng(0)
    made = tuple((scale * draw.normal(0, 0.1, (2, 2 * rate))).astype(np.float32) for _ in range(pieces))
    return Take(made, np.zeros((1, 1, 1), np.float32), 12, 4, 2.0, 1.5)


def test_every_piece_is_heard_and_costs_are_kept() -> None:
    heard = hear(take(), open_ears(None, None, None), "rain", 48_000)
    assert heard.rows.shape[0] == 3 * 2 and heard.piece_rows.shape[0] == 3
    assert (heard.calls, heard.batches, heard.seconds, heard.denoise_seconds) == (12, 4, 2.0, 1.5)
    assert (heard.sounding, heard.piece_seconds) == (6.0, 2.0)
    assert heard.shares is None and heard.fad_rows is None and np.isnan(heard.clap)


def test_neither_loudness_nor_the_models_rate_is_heard() -> None:
    ears = open_ears(None, None, None)
    loud, soft = (hear(take(scale=scale), ears, "rain", 48_000) for scale in (1.0, 0.1))
    assert np.abs(loud.rows - soft.rows).max() < 0.02
    assert loud.level == pytest.approx(soft.level, rel=0.01)
    assert hear(take(16_000), ears, "rain", 16_000).sounding == pytest.approx(6.0)


def test_a_second_network_fills_its_column_under_its_own_name(toy: ToyModel, tmp_path: Path) -> None:
    ears = open_ears(None, graph(tmp_path / "other.onnx", [15_600]), None)
    found = run.run(toy, paper_jobs((METHODS["safa"],), (3,), 2), Setup(("low", "high"), steps=2), ears)
    assert all(row.fad >= 0 for row in found.rows)
    assert ears.columns["fad"] == "other.onnx" and "fad" not in ears.missing
    assert ears.label == "FD, I-similarity: log-mel statistics; FAD: other.onnx"
