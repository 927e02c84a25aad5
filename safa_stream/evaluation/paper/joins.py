"""Ways to join views on one model: what each does to its latents and to its sound, and how far neighbours agree.

The swap is the average plus or minus half of what neighbours disagree about. So there is a second question beside that
of how canvases come out: what the decoder makes of frames that alternate between two parents, or are the mean of them,
where the parents have nothing in common. It is asked of finished views that share nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_stream.decode import decode_whole
from safa_stream.evaluation import aliasing, spectra
from safa_stream.evaluation.borders import Profile, border_change, profile_rows
from safa_stream.evaluation.generate import Settings, Way, encode, latents
from safa_stream.evaluation.paper import making
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.paper.fourier import disagreement
from safa_stream.evaluation.paper.hearing import at_own_rate
from safa_stream.evaluation.paper.pace import Pace
from safa_stream.evaluation.paper.provenance import Provenance
from safa_stream.evaluation.paper.watching import WatchedModel
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.layout import ViewLayout
from safa_stream.models.interface import Model
from safa_stream.operators import self_loop_swap
from safa_stream.types import DoubleArray, FloatArray

INTERVALS = (1, 2, 4, 8)
#: Ways that are compared, by title. "independent": final latents of views that share nothing, cross-faded.
WAYS: Mapping[str, Way] = {
    **{f"SaFa, w = {w}": Way("joint", interval=w) for w in INTERVALS},
    "SaFa*": Way("joint", "safa-self"),
    "MD": Way("joint", "average"),
    "MD*": Way("joint", "triangular"),
    "independent": Way("joint", "independent"),
    "stream": Way("stream"),
}
OVERLAP = 0.2
#: Joins of two finished views in every frame, by title.
PARENTS = ("parents", "mean", *(f"swap, w = {w}" for w in INTERVALS))


@dataclass(frozen=True, slots=True)
class Joined:
    """One way's figures, by clip.

    aliasing: the ratio. variance: of the latents in overlaps over that in Mids, mean over channels. level: of the sound
    in overlaps over that in Mids, dB. rows: border profiles. disagreement [S]: of neighbours' clean estimates by step
    before they are joined; none of a stream, whose views are not made side by side.
    """

    aliasing: list[float]
    variance: list[float]
    level: list[float]
    rows: list[DoubleArray]
    disagreement: list[DoubleArray]

    def profile(self, overlap: int) -> Profile:
        """The mean border profile."""
        return Profile.of_sounds(self.rows, overlap)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the decoder makes of joined views, by clip, beside what it makes of the parents.

    change: of the log-mel from frame to frame, over the parents' mean. level: of the sound over theirs, dB. likeness:
    of the log-mel with the mean of the parents' log-mels, its correlation over time and bands.
    """

    change: list[float]
    level: list[float]
    likeness: list[float]


@dataclass(frozen=True, slots=True)
class JoinsReport:
    """Ways and joins of finished views by title; frames of an overlap; how all was made."""

    ways: Mapping[str, Joined]
    decoded: Mapping[str, Decoded]
    overlap: int
    frame_seconds: float
    made: Provenance

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        ways = {}
        for name, found in self.ways.items():
            profile = found.profile(self.overlap)
            ways[name] = {
                "aliasing_ratio": spread(found.aliasing),
                "overlap_variance": spread(found.variance),
                "overlap_level_db": spread(found.level),
                "overlap_change": profile.overlap_ratio,
                "worst_border": profile.worst,
                "worst_border_frame": profile.worst_place,
                "profile": profile.mean.tolist(),
                "disagreement": np.mean(found.disagreement, axis=0).tolist() if found.disagreement else [],
            }
        decoded = {
            name: {"change": spread(f.change), "level_db": spread(f.level), "likeness": spread(f.likeness)}
            for name, f in self.decoded.items()
        }
        return {
            "ways": ways,
            "decoder": decoded,
            "overlap_frames": self.overlap,
            "frame_seconds": self.frame_seconds,
            **self.made.as_dict(),
        }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean over clips and its standard error."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return {"mean": float(np.mean(values)), "error": error}


def measure(model: Model, setup: Setup, say: Report = quiet, ways: Mapping[str, Way] = WAYS) -> JoinsReport:
    """Make every clip in every way; `setup.reference_views` views in a line, sampled by the model's own sampler."""
    begun = time.perf_counter()
    settings = Settings(setup.reference_views, setup.steps, setup.guidance, OVERLAP)
    found = {name: Joined([], [], [], [], []) for name in ways}
    decoded = {name: Decoded([], [], []) for name in PARENTS}
    pace = Pace(len(setup.clips) * (len(ways) + 1.0), len(setup.clips) * (len(ways) + 1), say)
    for prompt, seed in setup.clips:
        for name, way in ways.items():
            _add(found[name], model, prompt, way, settings, seed)
            pace.passed(1.0, f"{prompt}, seed {seed}: {name}")
        _decode(decoded, model, prompt, setup, seed)
        pace.passed(1.0, f"{prompt}, seed {seed}: the decoder")
    layout = settings.layout(model)
    made = Provenance.since(begun, model, setup, model.solver(setup.steps).name)
    return JoinsReport(found, decoded, layout.overlap, 1.0 / model.facts.frames_per_second, made)


def _add(found: Joined, model: Model, prompt: str, way: Way, settings: Settings, seed: int) -> None:
    watched, layout, facts = WatchedModel(model), settings.layout(model), model.facts
    canvas = latents(watched, prompt, way, settings, seed)
    sound = decode_whole(model.decoder(), canvas, seed)
    mono = aliasing.at_paper_rate(sound, facts.sample_rate)
    windows = aliasing.linear_windows(layout, settings.views, facts.frames_per_second)
    found.aliasing.append(aliasing.aliasing_ratio(mono, *windows))
    inside = overlap_frames(layout, settings.views)
    found.variance.append(variance_ratio(canvas, inside))
    found.level.append(level_ratio(sound.mean(0), np.repeat(inside, facts.samples_per_frame)))
    mel = spectra.log_mel(at_own_rate(sound, facts.sample_rate))
    found.rows.append(profile_rows(border_change(mel, canvas.shape[1]), layout, settings.views))
    if way.kind == "joint":
        found.disagreement.append(by_step(watched, settings, layout.overlap))


def by_step(watched: WatchedModel, settings: Settings, overlap: int) -> DoubleArray:
    """1 - c [S] of neighbours' clean estimates in their overlap, of what a canvas' making has shown."""
    table = watched.solver(settings.steps_of(watched))
    pairs = zip(watched.states(settings.views), watched.outputs(settings.views), strict=True)
    clean = [table.P[at] * state + table.Q[at] * told for at, (state, told) in enumerate(pairs)]
    return np.array([disagreement(views, overlap, circular=False) for views in clean])


def overlap_frames(layout: ViewLayout, views: int) -> npt.NDArray[np.bool_]:
    """Which frames of a line of views two views share."""
    inside = np.zeros(layout.linear_width(views), bool)
    for view in range(1, views):
        inside[view * layout.hop : view * layout.hop + layout.overlap] = True
    return inside


def variance_ratio(canvas: FloatArray, inside: npt.NDArray[np.bool_]) -> float:
    """Variance of latents [C, W, F] about each value's mean over time: inside over outside, mean over C and F."""
    apart = (canvas - canvas.mean(1, keepdims=True)) ** 2
    return float((apart[:, inside].mean(1) / (apart[:, ~inside].mean(1) + 1e-12)).mean())


def level_ratio(samples: FloatArray, inside: npt.NDArray[np.bool_]) -> float:
    """Power of samples [N] inside over that outside, dB."""
    square = samples.astype(np.float64) ** 2
    return float(10 * np.log10((square[inside].mean() + 1e-12) / (square[~inside].mean() + 1e-12)))


def _decode(decoded: Mapping[str, Decoded], model: Model, prompt: str, setup: Setup, seed: int) -> None:
    """Join two finished views that share nothing in all their frames, and hear what the decoder makes of it."""
    take = making.native(model, 2, setup.steps, encode(model, prompt, seed), setup.guidance, seed)
    one, two = np.split(take.latents, 2, axis=1)
    joined: dict[str, FloatArray] = {"mean": ((one + two) / 2).astype(np.float32)}
    joined |= {f"swap, w = {w}": model.to_numpy(self_loop_swap(one, two, w)) for w in INTERVALS}
    parents = [_heard(model, view, seed) for view in (one, two)]
    mean = np.mean([mel for mel, _ in parents], axis=0)
    usual = np.mean([np.abs(np.diff(mel, axis=0)).mean() for mel, _ in parents])
    loud = np.mean([power for _, power in parents])
    for name, views in {"parents": parents, **{n: [_heard(model, v, seed)] for n, v in joined.items()}}.items():
        into = decoded[name]
        for mel, power in views:
            into.change.append(float(np.abs(np.diff(mel, axis=0)).mean() / usual))
            into.level.append(float(10 * np.log10(power / loud + 1e-12)))
            into.likeness.append(float(np.corrcoef(mel.ravel(), mean.ravel())[0, 1]))


def _heard(model: Model, view: FloatArray, seed: int) -> tuple[DoubleArray, float]:
    """Log-mel [k, 64] and power of a view's sound."""
    mono = aliasing.at_paper_rate(decode_whole(model.decoder(), view, seed), model.facts.sample_rate)
    return aliasing.log_mel(mono), float((mono.astype(np.float64) ** 2).mean())
