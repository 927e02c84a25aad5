"""The experiment from end to end on a small exact model, and its rows on sounds whose figures are known."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml
from dataclasses import replace

import numpy as np
import pytest

from safa_stream.errors import ModelError, UsageError
from safa_stream.evaluation.paper import findings, report, run
from safa_stream.evaluation.paper.experiment import PROMPTS, Setup, default_prompts, measure
from safa_stream.evaluation.paper.hearing import open_ears
from safa_stream.evaluation.paper.methods import METHODS, chosen, open_to, paper_jobs
from safa_stream.evaluation.paper.pace import Pace
from safa_stream.evaluation.paper.report import Report
from safa_stream.evaluation.paper.rows import aliasing_ratios, distance_gap, time_ratio
from safa_stream.evaluation.tables import to_json
from tests.toy import ToyModel

EARS = open_ears(None, None, None)
KEYS = (
    "method", "seconds", "fd", "fad", "kl", "clap", "i_lpips", "i_clap", "aliasing_ratio", "denoiser_calls",
    "run_time_s", "embedding",
)  # fmt: skip


@pytest.fixture(scope="module")
def found(toy: ToyModel, setup: Setup) -> Report:
    methods, left_out = open_to(toy, chosen(()))
    assert left_out.count("is left out: method") == 2 and "MAD" in left_out and "SyncDiffusion" in left_out
    return run.run(toy, paper_jobs(methods, (3, 6), setup.steps), setup, EARS)


def test_every_row_tells_every_key(found: Report) -> None:
    told = json.loads(to_json(report.as_dict(found)))
    assert [row["method"] for row in told["rows"]] == ["Reference", "MD", "MD 0.8", "MD*", "SaFa*", "SaFa", "SaFa"]
    assert all(set(KEYS) <= set(row) for row in told["rows"])
    assert all(row["fd"] > 0 and row["run_time_s"] > 0 for row in told["rows"])
    assert [row["seconds"] for row in told["rows"]] == pytest.approx([1.6, *[3.84] * 5, 7.68])
    assert told["steps"] == 4 and told["prompts"] == ["low", "high"] and told["backend"] == "onnx"


def test_a_column_without_a_network_is_empty_and_says_why(found: Report) -> None:
    told = json.loads(to_json(report.as_dict(found)))
    for column in ("fad", "kl", "clap", "i_clap", "i_lpips"):
        assert told["empty_columns"][column]
        assert all(row[column] is None for row in told["rows"])
    assert told["embeddings"] == {"fd": "log-mel statistics", "i_similarity": "log-mel statistics"}
    assert all(row["embedding"] == "FD, I-similarity: log-mel statistics" for row in told["rows"])
    assert "FAD is empty: no second embedding network" in report.table(found)


def test_without_mids_there_is_no_aliasing_ratio(found: Report) -> None:
    ratios = {row.method: row.aliasing_ratio for row in found.rows[:6]}
    assert np.isnan(ratios["Reference"]) and np.isnan(ratios["MD 0.8"])
    assert all(0.5 < ratios[name] < 2.0 for name in ("MD", "MD*", "SaFa*", "SaFa"))


def test_the_reference_row_is_not_the_reference_set(found: Report) -> None:
    measured = found.measured
    assert found.rows[0].fd > 0 and not (measured.native[0].rows == measured.reference[0].rows).all()


def test_the_bars_are_taken_from_alternated_runs(found: Report, toy: ToyModel) -> None:
    bars = found.bars
    assert bars is not None
    # Two steps of four are guided: 12 views' steps + 2 of the reference, beside 48.
    assert bars.calls_ratio == pytest.approx(48 / (12 + 2))
    jobs = {job.method.title: job for job in found.measured.jobs[:5]}
    assert bars.time_ratio == time_ratio(found.measured.of(jobs["MD 0.8"]), found.measured.of(jobs["SaFa"]))
    assert bars.gaps["MD"] == distance_gap(found.measured, jobs["MD"], jobs["SaFa"])
    ratios = aliasing_ratios(toy, jobs["SaFa"], found.measured.of(jobs["SaFa"]))
    assert bars.aliasing == pytest.approx(np.mean(ratios))
    assert any("denoiser calls (at least 3 is wanted: met)" in line for line in bars.sentences())


def test_verdicts_follow_the_figures() -> None:
    gaps = {"MD": (2.0, 0.5), "MD*": (-2.0, 0.5), "MD 0.8": (0.5, 0.5)}
    said = findings.Bars(1.2, 0.01, gaps, 3.5, 2.0).sentences()
    assert "outside 0.95 to 1.05" in said[0]
    assert "SaFa is better, as in the paper" in said[1]
    assert "MD* is better, against the paper" in said[2]
    assert "undecided" in said[3]
    assert "calls (at least 3 is wanted: met) and 2.00 times its run time (at least 2.5 is wanted: not met)" in said[4]


def test_without_safa_there_are_no_bars_and_without_rivals_no_ratios(toy: ToyModel, setup: Setup) -> None:
    rest = run.run(toy, paper_jobs((METHODS["md"],), (3,), 2), replace(setup, steps=2), EARS)
    assert rest.bars is None and [row.method for row in rest.rows] == ["Reference", "MD"]
    alone = run.run(toy, paper_jobs((METHODS["safa"],), (3,), 2), Setup(("low",), steps=2), EARS)
    assert alone.bars is not None and np.isnan(alone.bars.calls_ratio) and not alone.bars.gaps
    assert np.isnan(alone.rows[1].fd_error) and len(alone.bars.sentences()) == 1


def test_the_page_names_its_command_and_the_picture_holds_every_method(found: Report, toy: ToyModel) -> None:
    page = report.markdown(found, "safa-stream eval paper", ["paper-change.svg"])
    assert page.startswith("# ") and "`safa-stream eval paper`" in page and "| SaFa* |" in page
    assert "](paper-change.svg)" in page
    drawn = xml.fromstring(report.picture(found, toy))
    assert len([e for e in drawn if e.tag.endswith("polyline")]) == 5


def test_progress_tells_what_is_left(toy: ToyModel) -> None:
    said: list[str] = []
    measure(toy, paper_jobs((METHODS["md"],), (3,), 2), Setup(("low",), steps=2), EARS, said.append)
    assert len(said) == 3 and said[0].startswith("[1/3] low, seed 0: native views, ")
    assert said[-1].endswith("0:00 left")
    lines: list[str] = []
    Pace(4.0, 2, lines.append, begun=-1e9).passed(1.0, "x")
    assert "left" in lines[0]


def test_prompts_are_sounds_that_the_model_knows(toy: ToyModel) -> None:
    assert default_prompts(toy, 6) == ("low", "high")
    known = replace(toy, facts=replace(toy.facts, sounds=("wind", "rain", "ocean")))
    assert default_prompts(known, 2) == ("rain", "ocean") and set(default_prompts(known, 9)) <= set(PROMPTS)


def test_what_cannot_be_is_refused(toy: ToyModel, setup: Setup) -> None:
    with pytest.raises(UsageError, match="no method is called magic"):
        chosen(("magic",))
    with pytest.raises(UsageError, match="at least one prompt"):
        Setup(())
    with pytest.raises(UsageError, match="at least one method"):
        measure(toy, (), setup, EARS)
    with pytest.raises(ModelError, match="method mad has nothing"):
        measure(toy, paper_jobs((METHODS["mad"],), (3,), 2), setup, EARS)
