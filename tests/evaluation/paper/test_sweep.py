"""Sweeps: every parameter is the one that varies, and a page tells all of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml

import pytest

from safa_stream.errors import UsageError
from safa_stream.evaluation.paper import sweep, sweep_page
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.paper.hearing import open_ears
from safa_stream.evaluation.tables import to_json
from tests.toy import ToyModel

EARS = open_ears(None, None, None)
TINY = {
    "reference-ratio": ("0", "1"),
    "interval": ("1", "4"),
    "overlap": ("0.2", "0.6"),
    "steps": ("2", "4"),
    "views": ("2", "3"),
}


@pytest.mark.parametrize("parameter", sweep.PLANS)
def test_a_reduced_sweep_tells_every_value(toy: ToyModel, parameter: str) -> None:
    plan = sweep.named(parameter, TINY[parameter])
    found = sweep.measure(toy, plan, Setup(("low",), steps=2), EARS)
    values = [float(value) for value in TINY[parameter]]
    for method in plan.methods:
        told, distances = found.curve(method.title, "fd")
        # Swapped views cannot share more than half.
        assert told == (values[:1] if parameter == "overlap" and method.join == "safa" else values)
        assert all(distance > 0 for distance in distances)
    page = sweep_page.markdown(found, f"safa-stream eval sweep {parameter}")
    pictures = sweep_page.pictures(found)
    assert pictures and all(f"]({name}.svg)" in page for name in pictures)
    assert all(xml.fromstring(svg).tag.endswith("svg") for svg in pictures.values())
    assert json.loads(to_json(sweep.as_dict(found)))["rows"][1]["value"] == values[0]
    assert plan.methods[0].title in sweep_page.table(found)
    assert "FAD" not in sweep_page.lines(found)[0]


def test_the_parameter_reaches_what_is_made() -> None:
    setup = Setup(("low",), steps=5)
    ratio, interval, overlap = (sweep.named(name).jobs(setup) for name in ("reference-ratio", "interval", "overlap"))
    assert [job.method.reference_ratio for job in ratio] == [job.value for job in ratio]
    assert {job.method.interval for job in interval} == {1, 2, 4, 8, 16}
    assert max(job.method.overlap for job in overlap if job.method.join == "safa") == 0.5
    assert max(job.method.overlap for job in overlap if job.method.join == "average") == 0.8
    assert [job.steps for job in sweep.named("steps", ("5", "9")).jobs(setup)] == [5, 9, 5, 9]
    assert {job.views for job in sweep.named("views", ("4",)).jobs(setup)} == {4}


def test_the_paper_s_ranges_are_swept_and_quick_ones_are_fewer() -> None:
    for name, plan in sweep.PLANS.items():
        assert len(sweep.named(name, quick=True).values) < len(sweep.named(name).values)
        assert set(plan.quick_values) <= set(plan.values)
    assert sweep.named("interval").values[-1] == 16 and sweep.named("reference-ratio").values[-1] == 1


def test_the_guided_steps_of_a_full_reference_are_counted(toy: ToyModel) -> None:
    found = sweep.measure(toy, sweep.named("reference-ratio", ("0", "1")), Setup(("low",), steps=4), EARS)
    assert [row.denoiser_calls for row in found.rows[1:]] == [12, 16]
    assert found.rows[1].value == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("magic", "1", "no sweep is called 'magic'"),
        ("interval", "1.5", "whole number from 1"),
        ("views", "1", "whole number from 2"),
        ("overlap", "2", "number from 0 to 1"),
        ("steps", "many", "'many' is not"),
    ],
)
def test_what_cannot_be_swept_is_one_clear_line(name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sweep.named(name, (value,))
