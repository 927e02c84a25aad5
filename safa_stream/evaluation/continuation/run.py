"""`eval continuation` from its options to results: clips, then changes of prompt, then drift."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from safa_stream.errors import UsageError
from safa_stream.evaluation.bench import machine
from safa_stream.evaluation.continuation import changes, clips, drifting
from safa_stream.evaluation.continuation.methods import Method
from safa_stream.evaluation.continuation.results import Results
from safa_stream.evaluation.embedding import Embedder
from safa_stream.evaluation.generate import Settings
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.interface import Model


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much is measured; no pairs or no minutes: that part is left out. classes, followed: none named are all."""

    classes: tuple[str, ...] = ()
    seeds: int = 1
    settings: Settings = Settings(4)
    pairs: int = 4
    minutes: int = 0
    prompt: str = "rain"
    followed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.settings.views < 3:
            raise UsageError("--views takes numbers from 3: two views have one seam and no view between seams")


def run(
    model: Model,
    methods: Sequence[Method],
    wanted: Wanted,
    embedder: Embedder,
    report: Report = quiet,
    so_far: Callable[[Results], None] | None = None,
) -> Results:
    """Measure all; `so_far` is told again and again, so that no hours of work are lost to an interruption."""
    begun, facts = time.perf_counter(), model.facts

    def told(found: Results) -> Results:
        found = replace(found, seconds=time.perf_counter() - begun)
        if so_far is not None:
            so_far(found)
        return found

    def of_clips(short: clips.Clips) -> Results:
        name, steps = f"{facts.name} {facts.version}", wanted.settings.steps_of(model)
        return told(Results(name, embedder.name, machine(), 0.0, short, steps))

    seeds, settings = range(wanted.seeds), wanted.settings
    found = of_clips(clips.measure(model, methods, embedder, wanted.classes, seeds, settings, report, of_clips))
    if wanted.pairs:
        pairs = changes.pairs_of(model, wanted.pairs)
        begin = replace(found, pairs=pairs)
        made = changes.measure(
            model, methods, pairs, seeds, settings, report, lambda made: told(replace(begin, changes=made))
        )
        found = told(replace(begin, changes=made))
    if wanted.minutes:
        start = replace(found, prompt=wanted.prompt)
        followed = [method for method in methods if not wanted.followed or method.name in wanted.followed]
        drifts = drifting.measure(
            model,
            followed,
            wanted.prompt,
            wanted.minutes,
            0,
            settings,
            report,
            lambda drifts: told(replace(start, drifts=drifts)),
        )
        found = told(replace(start, drifts=drifts))
    return found
