"""Clips: every sound and seed by every method in turns; seams, level, aliasing, likeness to native views; cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from safa_stream.evaluation import aliasing, spectra
from safa_stream.evaluation.borders import Profile, border_change, profile_rows
from safa_stream.evaluation.clips import at_level
from safa_stream.evaluation.continuation import making, measures
from safa_stream.evaluation.continuation.making import Cost, Take
from safa_stream.evaluation.continuation.methods import METHODS, Method
from safa_stream.evaluation.embedding import Embedder
from safa_stream.evaluation.generate import Settings, encode, prompts_of
from safa_stream.evaluation.paper.making import OTHER_NOISE
from safa_stream.evaluation.paper.pace import Pace
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.layout import ViewLayout
from safa_stream.models.builtin.features import SAMPLE_RATE, Array
from safa_stream.models.interface import Model
from safa_stream.types import DoubleArray


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """What is kept of one sound: profile rows of its seams, level steps, aliasing ratio, embeddings, costs.

    rows [n, D] of its windows, hop_rows [views, D] their means by hop.
    """

    label: str
    profile: DoubleArray
    level_seam: float
    level_inside: float
    aliasing_ratio: float
    rows: Array
    hop_rows: Array
    costs: tuple[Cost, ...]

    @property
    def steady(self) -> tuple[Cost, ...]:
        """Of all pieces but the first."""
        return self.costs[1:] or self.costs


@dataclass(slots=True, eq=False)
class Clips:
    """Clips by method, and the native views' windows that they are held against, in the same order of sounds."""

    settings: Settings
    layout: ViewLayout
    frames_per_second: float
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    reference: list[Array] = field(default_factory=list)
    made: dict[str, list[Clip]] = field(default_factory=dict)

    def profile(self, name: str) -> Profile:
        """The mean profile over sounds, each counting the same."""
        by_label: dict[str, list[DoubleArray]] = {}
        for clip in self.made[name]:
            by_label.setdefault(clip.label, []).append(clip.profile)
        if len(self.seeds) > 1:
            return Profile.of_classes([Profile.of_sounds(rows, self.layout.overlap) for rows in by_label.values()])
        # With one seed the sounds' own spread is the only error there is.
        return Profile.of_sounds([rows[0] for rows in by_label.values()], self.layout.overlap)


def measure(
    model: Model,
    methods: Sequence[Method],
    embedder: Embedder,
    classes: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    settings: Settings | None = None,
    report: Report = quiet,
    so_far: Callable[[Clips], object] | None = None,
) -> Clips:
    """Make and measure; methods take turns on every sound, and another one begins each time.

    so_far: told after every sound but the first, which has no errors yet.
    """
    settings = settings or Settings()
    prompts: Mapping[str, str] = prompts_of(model, tuple(classes))
    layout, rate = settings.layout(model), model.facts.frames_per_second
    found = Clips(settings, layout, rate, tuple(prompts), tuple(seeds), made={method.name: [] for method in methods})
    count = len(prompts) * len(seeds)
    pace = Pace(count * (1 + sum(method.cost for method in methods)), count * (1 + len(methods)), report)
    number = 0
    for label, prompt in prompts.items():
        for seed in seeds:
            encoded = encode(model, prompt, seed)
            native = making.take(
                making.ground_of(model, settings, seed + OTHER_NOISE),
                METHODS["independent"],
                making.always(encoded),
                settings.views,
            )
            found.reference.append(embedder.embed(at_level(native.samples)))
            pace.passed(1.0, f"{label}, seed {seed}: native views")
            for at in np.roll(np.arange(len(methods)), -number).tolist():
                method = methods[at]
                ground = making.ground_of(model, settings, seed)
                made = making.take(ground, method, making.always(encoded), settings.views)
                found.made[method.name].append(heard(made, label, found, embedder))
                pace.passed(method.cost, f"{label}, seed {seed}: {method.name}")
            number += 1
            if so_far is not None and number > 1:
                so_far(found)
    return found


def heard(made: Take, label: str, found: Clips, embedder: Embedder) -> Clip:
    """Measure one sound."""
    layout, views, rate = found.layout, found.settings.views, found.frames_per_second
    mel = spectra.log_mel(made.samples)
    seam, inside = measures.level_steps(mel, layout, views, rate)
    overlaps, middles = measures.linear_windows(layout, views, rate)
    levelled = at_level(made.samples)
    ratio = aliasing.aliasing_ratio(aliasing.at_paper_rate(levelled, SAMPLE_RATE), overlaps, middles)
    rows = embedder.embed(levelled)
    hops = [part.mean(0) for part in np.array_split(rows, views) if len(part)]
    return Clip(
        label,
        profile_rows(border_change(mel, layout.linear_width(views)), layout, views),
        seam,
        inside,
        ratio,
        rows,
        np.stack(hops),
        made.costs,
    )
