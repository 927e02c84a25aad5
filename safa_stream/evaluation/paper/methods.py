"""The rows of the experiment: ways to join views on a circle, as the paper names them, and the jobs made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from safa_stream.coupling import Coupling
from safa_stream.errors import SafaError, UsageError
from safa_stream.layout import Span, ViewLayout
from safa_stream.models.interface import Model
from safa_stream.scene import MAD, SYNC

#: The paper's overlap, and MultiDiffusion's habit.
OVERLAP, HABIT = 0.2, 0.8
#: The paper's canvases: views of the default overlap on a circle, about 24, 48 and 72 s of its views of 10.24 s.
VIEWS = (3, 6, 9)
REFERENCE = "Reference"


@dataclass(frozen=True, slots=True)
class Method:
    """One row's way of joining: a method by its name in scenes, with its overlap (a share of the view) and numbers."""

    title: str
    join: str
    overlap: float = OVERLAP
    interval: int = 1
    reference_ratio: float = 0.3

    @property
    def coupling(self) -> Coupling:
        """What it does beside joining."""
        return Coupling(self.join)

    def layout(self, model: Model) -> ViewLayout:
        """Its views in the model's frames."""
        facts = model.facts
        return ViewLayout.from_ratio(facts.view_frames, self.overlap, facts.frame_alignment)

    def spans(self, model: Model, views: int) -> tuple[Span, ...]:
        """Views on a circle as long as `views` views at the default overlap make it, to the nearest whole view."""
        layout = self.layout(model)
        width = views * replace(self, overlap=OVERLAP).layout(model).hop
        return layout.circular_spans(max(2, round(width / layout.hop)))


MD, MD_HABIT = Method("MD", "average"), Method("MD 0.8", "average", HABIT)
SAFA = Method("SaFa", "safa")
#: By the names that `--methods` takes; more rows are more entries.
METHODS = {
    "md": MD,
    "md-0.8": MD_HABIT,
    "md-star": Method("MD*", "triangular"),
    "mad": Method("MAD", MAD),
    "syncd": Method("SyncDiffusion", SYNC),
    "safa-star": Method("SaFa*", "safa-self"),
    "safa": SAFA,
}


@dataclass(frozen=True, slots=True)
class Job:
    """One row: a method on a canvas of so many views (of the default overlap) with so many solver steps.

    value: what a sweep varies, as its table shows it.
    """

    method: Method
    views: int
    steps: int
    value: float | None = None

    @property
    def cost(self) -> float:
        """View evaluations of one clip, roughly: for telling the time that is left."""
        hops, join = (1 - OVERLAP) / (1 - self.method.overlap), self.method.join
        # A gradient's way back costs about two calls.
        synchronised = 3 * self.views * min(self.steps, self.method.coupling.sync_steps) * (join == SYNC)
        return self.steps * (self.views * hops + self.method.reference_ratio * (join == "safa")) + synchronised


def open_to(model: Model, methods: tuple[Method, ...]) -> tuple[tuple[Method, ...], str]:
    """Those of the methods that the model lets in, and why not the others, in one line, "" where all are."""
    kept, reasons = [], list[str]()
    for method in methods:
        try:
            method.coupling.require(model)
            kept.append(method)
        except SafaError as error:
            reasons.append(f"{method.title} is left out: {error}")
    return tuple(kept), "; ".join(reasons)


def chosen(names: tuple[str, ...]) -> tuple[Method, ...]:
    """Methods by name; all where none is named. Raises UsageError for an unknown one."""
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UsageError(f"no method is called {', '.join(unknown)}; --methods takes {', '.join(METHODS)}")
    return tuple(METHODS[name] for name in names or METHODS)


def paper_jobs(methods: tuple[Method, ...], views: tuple[int, ...], steps: int) -> tuple[Job, ...]:
    """Every method on the first canvas, SaFa alone on the longer ones, as the paper reports them.

    Raises:
        UsageError: a canvas of fewer than two views, which nothing joins.
    """
    if not views or min(views) < 2:
        raise UsageError("--views takes numbers from 2: a single view is joined to nothing")
    jobs = [Job(method, views[0], steps) for method in methods]
    return (*jobs, *(Job(SAFA, count, steps) for count in views[1:] if SAFA in methods))
