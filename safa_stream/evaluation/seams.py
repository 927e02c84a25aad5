"""Seams between views: the change at every frame border around them, and jumps at chunk borders.

Everything is measured on sound. Each way of joining views makes the same classes and seeds; joint SaFa is the
yardstick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.evaluation import spectra
from safa_stream.evaluation.borders import Jumps, Profile, border_change, profile_rows
from safa_stream.evaluation.generate import WAYS, Settings, Way, latents, prompts_of, sound
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import Report, quiet, text_table
from safa_stream.models.builtin.features import Array
from safa_stream.models.interface import Model

#: What is measured as the shipped way, and what the paper's and the averaging figures are taken from.
SHIPPED, JOINT, AVERAGE = "stream", "joint", "average"


@dataclass(slots=True)
class Found:
    """What one way showed on one class: profile rows by sound, and jumps at chunk borders."""

    sounds: list[Any] = field(default_factory=list)
    jumps: Jumps = field(default_factory=Jumps)


@dataclass(frozen=True, slots=True)
class SeamReport:
    """Profiles and jumps by way and class. frame_seconds: length of a latent frame."""

    found: Mapping[str, Mapping[str, Found]]
    overlap: int
    frame_seconds: float

    def profile(self, way: str, label: str | None = None) -> Profile:
        """The profile of one class, or the mean over classes."""
        by_class = {name: Profile.of_sounds(f.sounds, self.overlap) for name, f in self.found[way].items()}
        return by_class[label] if label else Profile.of_classes(list(by_class.values()))

    def jumps(self, way: str, label: str | None = None) -> Jumps:
        """The jumps of one class, or of all."""
        pooled = Jumps()
        for name, one in self.found[way].items():
            if label in (None, name):
                pooled.merge(one.jumps)
        return pooled


def measure(
    model: Model,
    classes: Sequence[str] = (),
    seeds: Sequence[int] = tuple(range(8)),
    ways: Mapping[str, Way] = WAYS,
    settings: Settings | None = None,
    on_latents: bool = False,
    report: Report = quiet,
) -> SeamReport:
    """Make and measure every class with every seed in every way; classes: all the model's sounds where none is named.

    on_latents: measure the log-mel that the latents stand for (`model.log_mel`) and decode nothing; no jumps then.
    """
    settings = settings or Settings()
    layout = settings.layout(model)
    prompts = prompts_of(model, tuple(classes))
    found: dict[str, dict[str, Found]] = {name: {label: Found() for label in prompts} for name in ways}
    total, done = len(prompts) * len(seeds) * len(ways), 0
    for label, prompt in prompts.items():
        for seed in seeds:
            for name, way in ways.items():
                _add(found[name][label], model, prompt, way, settings, seed, on_latents)
                done += 1
                report(f"[{done}/{total}] {label}, seed {seed}: {name}")
    return SeamReport(found, layout.overlap, 1.0 / model.facts.frames_per_second)


def _add(found: Found, model: Model, prompt: str, way: Way, settings: Settings, seed: int, on_latents: bool) -> None:
    layout = settings.measured(model)
    width = layout.linear_width(settings.views)
    if on_latents and way.method != "independent":
        mel = _log_mel_of(model)(latents(model, prompt, way, settings, seed))
    else:
        samples, meetings = sound(model, prompt, way, settings, seed)
        mel = spectra.log_mel(samples)
        starts = [view * layout.hop * model.facts.samples_per_frame for view in range(1, settings.views)]
        found.jumps.add(samples, sorted({*starts, *meetings}))
    found.sounds.append(profile_rows(border_change(mel, width), layout, settings.views))


def _log_mel_of(model: Model) -> Callable[[Array], Array]:
    hook: Callable[[Array], Array] | None = getattr(model, "log_mel", None)
    if hook is None:
        raise UsageError(f"model {model.facts.name} cannot tell the log-mel of its latents; measure its sound instead")
    return hook


def as_dict(report: SeamReport) -> dict[str, Any]:
    """The report as JSON values: the shipped way's figures on top, all ways' under `ways`, classes under `classes`."""
    labels = list(report.found[SHIPPED])
    return {
        **_figures(report, None),
        "overlap_frames": report.overlap,
        "frame_seconds": report.frame_seconds,
        "sounds_per_class": len(report.found[SHIPPED][labels[0]].sounds),
        "ways": {name: _way(report, name, None) for name in report.found},
        "classes": {label: _figures(report, label) for label in labels},
        "profiles": {name: list(report.profile(name).mean) for name in report.found},
    }


def _figures(report: SeamReport, label: str | None) -> dict[str, Any]:
    figures = _way(report, SHIPPED, label)
    shipped = report.profile(SHIPPED, label)
    joint = report.profile(JOINT, label).worst if JOINT in report.found else float("nan")
    average = report.profile(AVERAGE, label).overlap_ratio if AVERAGE in report.found else float("nan")
    return {
        **figures,
        "worst_border_vs_joint": shipped.worst / joint,
        "overlap_interior_ratio_average_method": average,
    }


def _way(report: SeamReport, name: str, label: str | None) -> dict[str, Any]:
    profile, jumps = report.profile(name, label), report.jumps(name, label)
    return {
        "worst_border_ratio": profile.worst,
        "worst_border_frame": profile.worst_place,
        "worst_border_standard_error": profile.worst_error,
        "worst_border_by_chance": profile.worst_by_chance,
        "overlap_interior_ratio": profile.overlap_ratio,
        "edges_ratio": profile.edges,
        "boundary_jump_percentile": jumps.percentile(),
        "boundary_jump_largest_percentile": jumps.largest_percentile(),
        "boundary_jumps_above_99_9": jumps.above(),
        "boundaries": len(jumps.at_borders),
    }


def table(report: SeamReport) -> str:
    """Ways, then the shipped way's classes, as text."""
    header = ["", "overlap", "edges", "worst border", "± s.e.", "by chance", "at frame", "jump percentile"]

    def row(title: str, way: str, label: str | None) -> list[object]:
        f = _way(report, way, label)
        keys = (
            "overlap_interior_ratio",
            "edges_ratio",
            "worst_border_ratio",
            "worst_border_standard_error",
            "worst_border_by_chance",
            "worst_border_frame",
            "boundary_jump_percentile",
        )
        return [title, *(f[key] for key in keys)]

    rows = [row(name, name, None) for name in report.found]
    rows += [row(f"  {label}", SHIPPED, label) for label in report.found[SHIPPED]]
    return text_table(header, rows)


def picture(report: SeamReport) -> str:
    """The profiles of all ways as SVG text, x in frames from the view's start; the overlap is shaded."""
    curves = {}
    for name in report.found:
        mean = report.profile(name).mean
        curves[name] = (np.arange(len(mean)) - report.overlap, mean)
    return line_plot(
        curves,
        "Change at every frame border around a seam, over the interior's",
        "border, in latent frames from the view's start",
        "|Δ log-mel| / interior",
        spans=[(0, report.overlap)],
        levels=[1.0, 1.1],
    )
