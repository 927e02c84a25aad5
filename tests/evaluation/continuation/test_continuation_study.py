"""The study itself, reduced: figures with known answers, and the command from its options to its files."""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safa_stream.cli import eval as eval_command
from safa_stream.errors import UsageError
from safa_stream.evaluation.continuation import changes, measures
from safa_stream.evaluation.continuation.drifting import minutes_for
from safa_stream.evaluation.continuation.methods import METHODS
from safa_stream.layout import ViewLayout
from tests.toy import FACTS, ToyDecoder, ToyModel


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    eval_command.add_arguments(parser)
    return parser.parse_args(("continuation", *words))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy at the real rate of frames, and changes that are followed for seconds."""
    facts = replace(FACTS, sample_rate=48_000, samples_per_frame=1920, takes_context=True)
    model = ToyModel(facts=facts, sampled_decoder=ToyDecoder(samples_per_frame=1920))
    monkeypatch.setattr("safa_stream.models.load", lambda name, backend: model)
    monkeypatch.setattr(changes, "BEFORE", 1.0)
    monkeypatch.setattr(changes, "AFTER", 2.0)


def test_the_command_measures_writes_and_leaves_findings_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    words = ["--classes", "low,high", "--methods", "queue,joint", "--views", "4", "--steps", "2", "--pairs", "1"]
    words += ["--minutes", "1", "--follow", "stream", "--prompt", "low", "--out", str(page), "--json"]
    page.write_text("old\n\n## Findings\n\nOurs.\n", encoding="utf-8")
    assert eval_command.run(options(*words)) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    by_method = {row["method"]: row for row in told["rows"]}
    assert set(by_method) == {"stream", "queue", "joint"}
    assert by_method["stream"]["time_ratio"] == 1.0 and by_method["joint"]["worst_vs_joint"] == 1.0
    assert by_method["stream"]["level_gap"] == 0 and by_method["queue"]["level_gap"] != 0
    assert by_method["stream"]["begun_seconds"] == pytest.approx(8 / 25)
    assert by_method["queue"]["rows_per_second"] == pytest.approx(2 * by_method["stream"]["rows_per_second"], rel=0.01)
    assert by_method["joint"]["begun_seconds"] is None and "joint" not in told["changes"]
    assert told["drift"]["stream"]["minutes"] == 2 and list(told["drift"]) == ["stream"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Going on") and text.endswith("## Findings\n\nOurs.\n")
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["rows"] == told["rows"]
    pictures = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert pictures == ["continuation-change.svg", "continuation-drift.svg", "continuation-seams.svg"]
    assert all(xml.fromstring((tmp_path / name).read_text(encoding="utf-8")).tag.endswith("svg") for name in pictures)
    assert all(f"]({name})" in text for name in pictures)
    assert "low, seed 0: queue" in said.err


def test_too_few_views_are_refused() -> None:
    with pytest.raises(UsageError, match="--views takes numbers from 3"):
        eval_command.run(options("--views", "2"))


def test_a_level_step_is_the_difference_of_means_and_is_found_at_seams() -> None:
    layout = ViewLayout(160, 32)
    mel = np.zeros((layout.linear_width(3) * 4, 96), np.float32)
    mel[(layout.hop + 16) * 4 :] += 2.0
    assert measures.level_step(mel, (layout.hop + 16) / 25) == pytest.approx(2.0)
    assert measures.level_steps(mel, layout, 3, 25.0) == (pytest.approx(1.0), pytest.approx(0.0))
    assert np.isnan(measures.level_step(mel, 1.0))


def test_the_way_from_one_sound_to_another_and_when_it_is_gone() -> None:
    old, new = np.zeros(4), np.array([1.0, 2.0, 0.0, -1.0])
    mel = np.concatenate([np.tile(old, (128, 1)), np.tile(0.5 * new, (64, 1)), np.tile(new, (192, 1))])
    shares = measures.share_of_the_way(mel, old, new)
    assert np.allclose(shares, [0, 0, 0.5, 1, 1, 1])
    assert measures.reached(shares, 0.5) == pytest.approx(2 * 0.64)
    assert measures.reached(shares, 0.8) == pytest.approx(3 * 0.64)
    assert np.isnan(measures.reached(shares * 0.1, 0.5))
    # A moment is no arrival.
    assert measures.reached(np.array([0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]), 0.8) == pytest.approx(4 * 0.64)


def test_costlier_methods_are_followed_for_a_shorter_time() -> None:
    assert [minutes_for(METHODS[name], 30) for name in ("stream", "ahead-1", "ahead-2")] == [30, 15, 10]
    assert minutes_for(METHODS["ahead-2"], 2) == 2
