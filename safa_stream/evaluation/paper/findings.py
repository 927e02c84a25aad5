"""The experiment's verdicts: is SaFa's aliasing ratio near 1, is the paper's ordering found, and what does it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from safa_stream.evaluation.paper.experiment import Measured
from safa_stream.evaluation.paper.measures import standard_error
from safa_stream.evaluation.paper.methods import METHODS, Job
from safa_stream.evaluation.paper.rows import aliasing_ratios, distance_gap, time_ratio
from safa_stream.models.interface import Model

#: SaFa's aliasing ratio is to lie between these; calls and time of MD at overlap 0.8 over SaFa's at 0.2 above those.
ALIASING, CALLS, TIME = (0.95, 1.05), 3.0, 2.5
#: A difference of fewer standard errors than this is called undecided.
DECIDED = 2.0


@dataclass(frozen=True, slots=True)
class Bars:
    """The figures that are held against bars; nan where a method was left out.

    gaps: FD of the other methods less SaFa's, each with its standard error; above 0, SaFa is better.
    """

    aliasing: float
    aliasing_error: float
    gaps: dict[str, tuple[float, float]]
    calls_ratio: float
    time_ratio: float

    def sentences(self) -> list[str]:
        """The verdicts in words."""
        lines = []
        if math.isfinite(self.aliasing):
            low, high = ALIASING
            verdict = "within" if low <= self.aliasing <= high else "outside"
            lines.append(
                f"SaFa's aliasing ratio is {self.aliasing:.3f} ± {self.aliasing_error:.3f}: {verdict} {low} to {high}."
            )
        lines += [f"FD of {name} less SaFa's: {gap:+.2f} ± {error:.2f}; {_side(gap, error, name)}."
                  for name, (gap, error) in self.gaps.items()]  # fmt: skip
        if math.isfinite(self.calls_ratio):
            lines.append(
                f"MD at overlap 0.8 takes {self.calls_ratio:.2f} times SaFa's denoiser calls "
                f"({_met(self.calls_ratio, CALLS)}) and {self.time_ratio:.2f} times its run time "
                f"({_met(self.time_ratio, TIME)})."
            )
        return lines


def _side(gap: float, error: float, name: str) -> str:
    if not math.isfinite(error):
        return "one clip cannot tell"
    if abs(gap) < DECIDED * error:
        return "undecided"
    return "SaFa is better, as in the paper" if gap > 0 else f"{name} is better, against the paper"


def _met(value: float, bar: float) -> str:
    return f"at least {bar:g} is wanted: {'met' if value >= bar else 'not met'}"


def bars(model: Model, measured: Measured) -> Bars | None:
    """The figures of the first canvas; None where SaFa was left out."""
    first = measured.jobs[0]
    jobs: dict[str, Job] = {}
    for name, method in METHODS.items():
        job = Job(method, first.views, first.steps)
        if job in measured.jobs:
            jobs[name] = job
    if "safa" not in jobs:
        return None
    safa, heard = jobs["safa"], measured.of(jobs["safa"])
    ratios = aliasing_ratios(model, safa, heard)
    gaps = {
        jobs[name].method.title: distance_gap(measured, jobs[name], safa)
        for name in ("md-star", "md", "md-0.8", "mad", "syncd")
        if name in jobs
    }
    calls = time = float("nan")
    if "md-0.8" in jobs:
        slow = measured.of(jobs["md-0.8"])
        calls = sum(one.calls for one in slow) / sum(one.calls for one in heard)
        time = time_ratio(slow, heard)
    return Bars(float(np.mean(ratios)), standard_error(ratios), gaps, calls, time)
