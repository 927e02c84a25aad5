"""Sweeps: one parameter over its range, all else as in the experiment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from safa_stream.errors import UsageError
from safa_stream.evaluation.paper.experiment import Measured, Setup
from safa_stream.evaluation.paper.experiment import measure as make_and_hear
from safa_stream.evaluation.paper.hearing import Ears
from safa_stream.evaluation.paper.methods import MD, METHODS, SAFA, Job, Method
from safa_stream.evaluation.paper.provenance import Provenance
from safa_stream.evaluation.paper.rows import Row, rows_of
from safa_stream.evaluation.tables import Report as Say
from safa_stream.evaluation.tables import quiet
from safa_stream.models.interface import Model

SAFA_STAR = METHODS["safa-star"]
#: Swapped views tile up to half a view of overlap.
MOST_SWAPPED = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep's parameter, what it is called on an axis, its values, and the methods that it is done to."""

    parameter: str
    axis: str
    values: tuple[float, ...]
    quick_values: tuple[float, ...]
    methods: tuple[Method, ...]

    def jobs(self, setup: Setup) -> tuple[Job, ...]:
        """Every method at every value that it takes."""
        made = []
        for method in self.methods:
            for value in self.values:
                if self.parameter == "overlap" and method.join != "average" and value > MOST_SWAPPED:
                    continue
                made.append(self._job(method, value, Job(method, setup.reference_views, setup.steps, value)))
        return tuple(made)

    def _job(self, method: Method, value: float, job: Job) -> Job:
        if self.parameter == "reference-ratio":
            return replace(job, method=replace(method, reference_ratio=value))
        if self.parameter == "overlap":
            return replace(job, method=replace(method, overlap=value))
        if self.parameter == "interval":
            return replace(job, method=replace(method, interval=int(value)))
        return replace(job, steps=int(value)) if self.parameter == "steps" else replace(job, views=int(value))


PLANS = {
    plan.parameter: plan
    for plan in (
        Plan("reference-ratio", "r_guide", (0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0), (0, 0.3, 0.6, 1.0), (SAFA,)),
        Plan("interval", "swap interval w, frames", (1, 2, 4, 8, 16), (1, 4, 16), (SAFA_STAR, SAFA)),
        Plan("overlap", "overlap, share of a view", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8), (0.1, 0.2, 0.5), (SAFA, MD)),
        Plan("steps", "DDIM steps", (5, 10, 25, 50, 100, 200), (5, 10, 25), (SAFA, MD)),
        Plan("views", "views", (2, 3, 6, 9, 12), (2, 3, 6), (SAFA, SAFA_STAR, MD)),
    )
}


def named(parameter: str, values: Sequence[str] = (), quick: bool = False) -> Plan:
    """The plan of a parameter, with values of one's own where they are given.

    Raises:
        UsageError: there is no such sweep, or a value is not one that it takes.
    """
    if parameter not in PLANS:
        raise UsageError(f"no sweep is called {parameter!r}; there are {', '.join(PLANS)}")
    plan = PLANS[parameter]
    chosen = tuple(_value(parameter, text) for text in values)
    return replace(plan, values=chosen or (plan.quick_values if quick else plan.values))


def _value(parameter: str, text: str) -> float:
    whole = parameter in ("interval", "steps", "views")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    least, most = (1.0, 10_000.0) if whole else (0.0, 1.0)
    least = 2.0 if parameter == "views" else least
    if not least <= value <= most or (whole and value != int(value)):
        kind = f"a whole number from {least:g}" if whole else "a number from 0 to 1"
        raise UsageError(f"--values: {text!r} is not {kind}, as {parameter} takes it")
    return value


@dataclass(frozen=True, slots=True, eq=False)
class SweepReport:
    """A sweep's rows, the row Reference first, and how they were made."""

    plan: Plan
    rows: tuple[Row, ...]
    measured: Measured
    ears: Ears
    made: Provenance

    def curve(self, title: str, figure: str) -> tuple[list[float], list[float]]:
        """(values, figures) of one method."""
        mine = [row for row in self.rows[1:] if row.method == title]
        return [row.value for row in mine], [float(getattr(row, figure)) for row in mine]


def measure(model: Model, plan: Plan, setup: Setup, ears: Ears, say: Say = quiet) -> SweepReport:
    """Make and measure the sweep; the reference set has the most steps of any job.

    Raises:
        UsageError: the methods cannot take a value (LayoutError: the views cannot be laid out so).
    """
    begun = time.perf_counter()
    jobs = plan.jobs(setup)
    setup = replace(setup, steps=max(job.steps for job in jobs))
    measured = make_and_hear(model, jobs, setup, ears, say)
    rows = rows_of(model, measured)
    return SweepReport(plan, rows, measured, ears, Provenance.since(begun, model, setup))


def as_dict(report: SweepReport) -> dict[str, Any]:
    """JSON values."""
    return {
        "parameter": report.plan.parameter,
        "rows": [{**asdict(row), "embedding": report.ears.label} for row in report.rows],
        **report.made.as_dict(),
    }
