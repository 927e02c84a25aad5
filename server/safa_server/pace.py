"""How fast this machine makes views: measured at the start with a few steps, then followed as the engine works."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from safa_stream.models.interface import Model
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.stream import View, step_views

#: How many views are worked on together where batches are worth it, and where they are not.
MANY, FEW = 8, 2
#: Rows of a view by itself: its own, and one more while it is guided.
SMALL_BATCH = 2
#: Solver steps of the views that are made to measure.
QUICK_STEPS = 4
#: A batch of four has to cost so much less than four views alone for batches to be worth it.
WORTH = 1.5


@dataclass(slots=True)
class Times:
    """The last values of a measure, for means and percentiles."""

    values: deque[float] = field(default_factory=lambda: deque(maxlen=512))
    count: int = 0
    total: float = 0.0
    _ordered: list[float] | None = None

    def add(self, value: float) -> None:
        """Take one more."""
        self.values.append(value)
        self._ordered = None
        self.count += 1
        self.total += value

    def percentile(self, percent: float) -> float:
        """Of the last values; 0 while there are none."""
        # Asked for at every step, for every layer: sorted once after each new value.
        ordered = self._ordered
        if ordered is None:
            ordered = self._ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))] if ordered else 0.0


@dataclass(slots=True)
class Pace:
    """What the engine did and how fast. Times in seconds; written by its thread, read by any.

    steps: of a view as the model wants it; row_seconds: one row's share of a step; step_seconds: of a step of one view
    by itself, which costs more than its share of a batch; view_seconds: from a view's start to its sound;
    real_time_factor: seconds of one layer's sound, made in full, in a second of work; parallel: views made together.
    """

    steps: int = 12

    step: Times = field(default_factory=Times)
    decode: Times = field(default_factory=Times)
    view: Times = field(default_factory=Times)
    rows: Times = field(default_factory=Times)
    views: int = 0
    views_with_fewer_steps: int = 0
    refused: int = 0
    failures: int = 0
    row_seconds: float = 0.05
    step_seconds: float = 0.05
    view_seconds: float = 1.0
    real_time_factor: float = 1.0
    parallel: int = FEW

    @property
    def largest_batch(self) -> int:
        """Most rows of a batch. Where batches are not worth it, larger ones would only take memory, for good."""
        return self.parallel * SMALL_BATCH

    @property
    def unit(self) -> float:
        """Seconds of the longest piece of work that cannot be interrupted: a step, or a view's decoding."""
        return max(self.step_seconds, self.decode.percentile(90))

    def left(self, steps: int, rows: int = 1, groups: int = 1) -> float:
        """Engine seconds until a view is there that has so many steps to make, and groups to decode; with care."""
        return steps * rows * self.row_seconds + groups * self.decode.percentile(90)

    def work(self, steps: int) -> float:
        """Engine seconds that a view of so many steps is worth, sharing its batches with others."""
        return steps * self.row_seconds + self.decode.percentile(50)

    def stepped(self, seconds: float, rows: int) -> None:
        """Account for one step of a batch."""
        self.step.add(seconds)
        self.rows.add(rows)
        self.row_seconds += 0.05 * (seconds / rows - self.row_seconds)
        if rows <= SMALL_BATCH:
            self.step_seconds += 0.1 * (seconds - self.step_seconds)

    def finished(self, seconds: float, steps: int, added: float) -> None:
        """Account for a view of so many steps that took `seconds` and added `added` seconds of sound."""
        self.views += 1
        self.view.add(seconds)
        self.view_seconds += 0.2 * (seconds - self.view_seconds)
        # Views that are made with fewer steps for want of time must not look like speed, or more would be let in.
        self.real_time_factor += 0.1 * (added / self.work(max(steps, self.steps)) - self.real_time_factor)


def measured(model: Model) -> Pace:
    """The pace that this machine begins with: of a view with few steps and its decode, and of four views together."""
    session = _session(model)
    pace = Pace(steps=model.facts.default_steps)
    for number in (0, 1):
        work = session.start(0, QUICK_STEPS)
        began, rows = time.perf_counter(), 0
        while not work.view.done:
            rows += work.view.rows
            step_views(model, [work.view])
        stepped = time.perf_counter() - began
        finished = work.finish()
        spent = time.perf_counter() - began
        session.complete(finished)
        # The first view pays for what is loaded when it is first used.
        if number:
            pace.row_seconds = stepped / rows
            pace.step_seconds = stepped / work.making.steps
            pace.decode.add(spent - stepped)
            pace.view_seconds = spent - stepped + stepped * session.wanted_steps(0) / work.making.steps
            pace.real_time_factor = work.view.plan.layout.hop / model.facts.frames_per_second / pace.view_seconds
    alone, together = (_seconds_of_step(model, count) for count in (1, 4))
    pace.parallel = MANY if 4 * alone > WORTH * together else FEW
    return pace


def _session(model: Model) -> Session:
    return Session.begin(model, LiveScene.from_value(", ".join(model.facts.sounds[:1]) or "sound"))


def _seconds_of_step(model: Model, count: int) -> float:
    views: list[View] = [_session(model).start(0, QUICK_STEPS).view for _ in range(count)]
    step_views(model, views)
    began = time.perf_counter()
    step_views(model, views)
    return time.perf_counter() - began
