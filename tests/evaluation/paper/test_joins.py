"""Ways to join views, measured on latents whose figures are known and on a small model."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import pytest

from safa_stream.cli import main
from safa_stream.evaluation import aliasing
from safa_stream.evaluation.paper import joins, joins_page
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.tables import to_json
from safa_stream.layout import ViewLayout
from tests.toy import ToyModel

LAYOUT = ViewLayout(20, 4)


def test_overlaps_are_where_two_views_lie() -> None:
    inside = joins.overlap_frames(LAYOUT, 3)
    assert np.flatnonzero(inside).tolist() == [16, 17, 18, 19, 32, 33, 34, 35] and len(inside) == 52
    overlaps, middles = aliasing.linear_windows(LAYOUT, 3, 1.0)
    assert overlaps == [(16, 20), (32, 36)] and middles == [(0, 16), (20, 32), (36, 48)]


def test_a_mean_of_unlike_views_has_half_their_variance_and_level() -> None:
    one, two = np.random.default_rng(0).normal(size=(2, 6, 5200, 1)).astype(np.float32)
    inside = np.arange(5200) % 2 == 0
    mean = one.copy()
    mean[:, inside] = ((one + two) / 2)[:, inside]
    assert joins.variance_ratio(one, inside) == pytest.approx(1.0, abs=0.05)
    assert joins.variance_ratio(mean, inside) == pytest.approx(0.5, abs=0.05)
    assert joins.level_ratio(mean[0, :, 0], inside) == pytest.approx(-3.0, abs=0.3)


@pytest.fixture(scope="module")
def found(toy: ToyModel) -> joins.JoinsReport:
    ways = {name: joins.WAYS[name] for name in ("SaFa, w = 1", "MD", "independent", "stream")}
    return joins.measure(toy, Setup(("low", "high"), (0,), steps=4, reference_views=2), ways=ways)


def test_every_way_is_measured(found: joins.JoinsReport) -> None:
    told = found.as_dict()
    for name, way in told["ways"].items():
        # A stream's views are not made side by side.
        assert len(way["disagreement"]) == (0 if name == "stream" else 4)
        assert len(way["profile"]) == 3 * found.overlap + 1
    decoder = told["decoder"]
    assert set(decoder) == set(joins.PARENTS) and decoder["parents"]["change"]["mean"] == pytest.approx(1.0)
    assert decoder["mean"]["level_db"]["mean"] <= decoder["swap, w = 1"]["level_db"]["mean"]


def test_the_page_and_its_files(found: joins.JoinsReport) -> None:
    page = joins_page.markdown(found, "safa-stream eval joins")
    assert "`safa-stream eval joins`" in page and "dpm-solver" not in joins_page.table(found).splitlines()[1]
    for name, svg in joins_page.pictures(found).items():
        assert name in page and xml.fromstring(svg).tag.endswith("svg")
    assert json.loads(to_json(found.as_dict()))["overlap_frames"] == found.overlap


def test_the_command_measures_a_model(
    toy: ToyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("safa_stream.models.load", lambda *named: toy)
    words = ["eval", "joins", "--prompts", "low", "--seeds", "1", "--steps", "1", "--views", "2", "--quiet"]
    assert main([*words, "--json", "--out", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 1 and set(told["ways"]) == set(joins.WAYS)
    assert told["ways"]["SaFa, w = 1"]["aliasing_ratio"]["mean"] > 0 and (tmp_path / "joins.md").exists()
