"""A prompt changes while a sound goes on: how long until the new prompt is what is heard, and how abruptly it comes.

What was given before the change has been heard; whatever is computed after it is told the new prompt. So a method is
slow by just what it has begun before. How far a sound has come is told by its mean log-mel in windows, on the straight
line from that of a stream which always had the old prompt (0) to one which always had the new (1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from safa_stream.evaluation import spectra
from safa_stream.evaluation.borders import border_change
from safa_stream.evaluation.continuation import making, measures
from safa_stream.evaluation.continuation.methods import METHODS, SHIPPED, Method
from safa_stream.evaluation.generate import Settings, encode
from safa_stream.evaluation.paper.pace import Pace
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.interface import Model
from safa_stream.types import DoubleArray

#: From and to, where none are named: of those the model knows.
PAIRS = (("rain", "birds"), ("ocean", "fire"), ("wind", "drone"), ("stream", "crickets"))
#: Seconds of each sound before the change, at least, and after it.
BEFORE, AFTER = 7.0, 36.0
#: Borders this many seconds before and after the change are looked at for the seam.
NEAR = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One method's changes: share of the way by window from the change on [pairs, windows]; worst border by pair."""

    shares: DoubleArray
    worst: DoubleArray

    @property
    def mean(self) -> DoubleArray:
        """[windows]."""
        return np.asarray(self.shares.mean(0))

    def seconds_to(self, least: float) -> float:
        """Until the mean over pairs has come so far, and stays."""
        return measures.reached(self.mean, least)


def pairs_of(model: Model, count: int) -> tuple[tuple[str, str], ...]:
    """The first `count` of PAIRS that the model knows both of, or of its own sounds where it knows none."""
    known = model.facts.sounds
    pairs = [pair for pair in PAIRS if set(pair) <= set(known)] or list(zip(known, known[1:], strict=False))
    return tuple(pairs[:count])


def measure(
    model: Model,
    methods: Sequence[Method],
    pairs: Sequence[tuple[str, str]],
    seeds: Sequence[int] = (0,),
    settings: Settings | None = None,
    report: Report = quiet,
    so_far: Callable[[dict[str, Change]], object] | None = None,
) -> dict[str, Change]:
    """Every live method on every pair and seed; joint canvases cannot change what is already made.

    so_far: told after every pair and seed.
    """
    settings, live = settings or Settings(), [method for method in methods if method.live]
    layout, rate = settings.layout(model), model.facts.frames_per_second
    before = math.ceil(BEFORE * rate / layout.hop) * layout.hop
    views = layout.views_for(before + layout.view + math.ceil(AFTER * rate))
    shares: dict[str, list[DoubleArray]] = {method.name: [] for method in live}
    worst: dict[str, list[float]] = {method.name: [] for method in live}
    rounds = [(pair, seed) for pair in pairs for seed in seeds]
    pace = Pace(len(rounds) * sum(method.cost for method in live), len(rounds) * len(live), report)
    for (old, new), seed in rounds:
        told = [encode(model, prompt.replace("_", " "), seed) for prompt in (old, new)]
        ground = making.ground_of(model, settings, seed)
        alone = [making.take(ground, METHODS[SHIPPED], making.always(one), 4) for one in told]
        ends = [spectra.log_mel(one.samples) for one in alone]
        interior = float(np.mean([np.nanmean(border_change(mel, layout.linear_width(4))) for mel in ends]))
        for method in live:
            made = making.take(ground, method, making.changing(told[0], told[1], before), views)
            mel, per_frame = spectra.log_mel(made.samples), spectra.FRAMES_PER_SECOND / rate
            after = mel[round(made.change * per_frame) :][: round(AFTER * spectra.FRAMES_PER_SECOND)]
            shares[method.name].append(
                measures.share_of_the_way(after, measures.colour(ends[0]), measures.colour(ends[1]))
            )
            borders = border_change(mel, layout.linear_width(views)) / interior
            reach = round(NEAR * rate)
            worst[method.name].append(float(np.nanmax(borders[max(0, made.change - reach) : made.change + reach + 1])))
            pace.passed(method.cost, f"{old} to {new}, seed {seed}: {method.name}")
        if so_far is not None:
            so_far(_together(shares, worst))
    return _together(shares, worst)


def _together(shares: dict[str, list[DoubleArray]], worst: dict[str, list[float]]) -> dict[str, Change]:
    """As long as the shortest."""
    length = min(len(one) for found in shares.values() for one in found)
    return {
        name: Change(np.stack([one[:length] for one in found]), np.array(worst[name])) for name, found in shares.items()
    }
