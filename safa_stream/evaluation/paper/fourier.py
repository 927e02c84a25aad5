"""What joining does to the latents' high frequencies, along the denoising steps: overlap beside Mid.

The paper's analysis (arXiv 2502.05130): the relative log amplitude of a 2-D Fourier transform of latents. Swapping is
to keep the overlap's high frequencies where Mid has them; averaging is to lower them. Joins run along time, so
amplitudes are told by frequency along time, the mean over channels and over frequencies along F.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safa_stream import joint
from safa_stream.evaluation.generate import encode
from safa_stream.evaluation.paper import making
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.paper.methods import METHODS, Job
from safa_stream.evaluation.paper.pace import Pace
from safa_stream.evaluation.paper.provenance import Provenance
from safa_stream.evaluation.paper.watching import WatchedModel
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.interface import Encoded, Model
from safa_stream.types import DoubleArray, FloatArray

#: The paper compares averaging and swapping; SaFa* swaps without the reference, which changes Mid.
COMPARED = ("md", "md-star", "safa-star")
#: Frequencies from this share of the highest on count as high.
HIGH = 2 / 3


def log_amplitude(latents: FloatArray) -> DoubleArray:
    """Log amplitude [T // 2 + 1] by frequency along time of latents [..., C, T, F], natural log.

    Mean of |2-D FFT over (T, F)| over all other axes and over frequencies along F; a Hann window along time keeps the
    crop's ends from counting as high frequencies.
    """
    frames = latents.shape[-2]
    window = np.hanning(frames + 1)[:-1]
    spectrum = np.fft.fft2(latents * (window / window.mean())[:, None], axes=(-2, -1))
    amplitude = np.abs(spectrum[..., : frames // 2 + 1, :])
    axes = tuple(axis for axis in range(amplitude.ndim) if axis != amplitude.ndim - 2)
    return np.asarray(np.log(amplitude.mean(axis=axes) + 1e-12))


def relative(amplitude: DoubleArray) -> DoubleArray:
    """Log amplitude [..., K] less its value at zero frequency."""
    return amplitude - amplitude[..., :1]


def high_frequencies(amplitude: DoubleArray) -> DoubleArray:
    """Mean [...] of log amplitudes [..., K] over the highest third of the frequencies."""
    return np.asarray(amplitude[..., int(HIGH * (amplitude.shape[-1] - 1)) :].mean(-1))


def regions(views: FloatArray, overlap: int) -> tuple[FloatArray, FloatArray]:
    """(overlaps, Mids) of views [n, C, L, F]: every view's first O frames, and as many from the middle of its Mid.

    The first O frames of a view on a circle are shared with the view before it.
    """
    length = views.shape[2]
    start = overlap + (length - 2 * overlap - overlap) // 2
    return views[:, :, :overlap], views[:, :, start : start + overlap]


def disagreement(views: FloatArray, overlap: int, circular: bool = True) -> float:
    """1 - c of what neighbours say of their overlap: views [n, C, L, F], c the correlation of all values.

    0: both say the same, so that averaging and swapping are one; 1: they have nothing in common. Averaging leaves a
    share of (1 + c) / 2 of the variance, swapping all of it.
    """
    after = np.roll(views, -1, axis=0) if circular else views[1:]
    right, left = views[: len(after), :, -overlap:], after[:, :, :overlap]
    one, two = (side - side.mean(axis=(2, 3), keepdims=True) for side in (right, left))
    return float(1.0 - (one * two).sum() / (np.sqrt((one**2).sum() * (two**2).sum()) + 1e-12))


@dataclass(frozen=True, slots=True)
class Curves:
    """One method's log amplitudes [S + 1, K] in overlap and Mid after every step.

    disagreement [S]: of neighbours' clean estimates in their overlap, before they are joined.
    """

    overlap: DoubleArray
    middle: DoubleArray
    disagreement: DoubleArray

    @classmethod
    def mean(cls, clips: Sequence[Curves]) -> Curves:
        """Of several clips."""
        over, mid, apart = ([getattr(one, name) for one in clips] for name in ("overlap", "middle", "disagreement"))
        return cls(np.mean(over, axis=0), np.mean(mid, axis=0), np.mean(apart, axis=0))

    def lost(self) -> DoubleArray:
        """High frequencies [S + 1] of the overlap over Mid's, nats; below 0 they are lost."""
        return high_frequencies(self.overlap) - high_frequencies(self.middle)

    def relative_lost(self) -> DoubleArray:
        """The same [S + 1] of amplitudes relative to zero frequency: the paper's measure."""
        return high_frequencies(relative(self.overlap)) - high_frequencies(relative(self.middle))


@dataclass(frozen=True, slots=True)
class FourierReport:
    """Curves by method's title; frames of an overlap; how all was made."""

    curves: Mapping[str, Curves]
    made: Provenance
    overlap: int
    frames_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """JSON values: by method, the high frequencies by step, and the last step's curves by frequency."""
        methods = {}
        for name, found in self.curves.items():
            methods[name] = {
                "high_frequencies_lost": found.lost().tolist(),
                "relative_high_frequencies_lost": found.relative_lost().tolist(),
                "disagreement": found.disagreement.tolist(),
                "final_overlap": relative(found.overlap[-1]).tolist(),
                "final_middle": relative(found.middle[-1]).tolist(),
            }
        return {
            "methods": methods,
            "frequencies_hz": self.frequencies().tolist(),
            **self.made.as_dict(),
        }

    def frequencies(self) -> DoubleArray:
        """Changes a second [K]."""
        return np.asarray(np.fft.rfftfreq(self.overlap, 1.0 / self.frames_per_second), np.float64)


def measure(model: Model, setup: Setup, say: Report = quiet, names: Sequence[str] = COMPARED) -> FourierReport:
    """Make canvases by every method and follow their latents. `setup.reference_views` is the canvas' views."""
    begun = time.perf_counter()
    jobs = [Job(METHODS[name], setup.reference_views, setup.steps) for name in names]
    pace = Pace(sum(job.cost for job in jobs) * len(setup.clips), len(jobs) * len(setup.clips), say)
    found: dict[str, list[Curves]] = {job.method.title: [] for job in jobs}
    for prompt, seed in setup.clips:
        encoded = encode(model, prompt, seed)
        for job in jobs:
            found[job.method.title].append(follow(model, job, encoded, setup.guidance, seed))
            pace.passed(job.cost, f"{prompt}, seed {seed}: {job.method.title}")
    curves = {name: Curves.mean(clips) for name, clips in found.items()}
    return FourierReport(
        curves,
        Provenance.since(begun, model, setup),
        jobs[0].method.layout(model).overlap,
        model.facts.frames_per_second,
    )


def follow(model: Model, job: Job, encoded: Encoded, guidance: float, seed: int) -> Curves:
    """Make one canvas and look at its latents after every step."""
    plan, watched = making.plan_of(model, job, seed), WatchedModel(model)
    spans, overlap = job.method.spans(model, job.views), plan.layout.overlap
    last = joint.denoise_views(watched, plan, spans, plan.width(spans), encoded, guidance)
    states = watched.states(len(spans))
    pairs = [regions(state, overlap) for state in (*states, model.to_numpy(last))]
    clean = [
        plan.table.P[at] * state + plan.table.Q[at] * told
        for at, (state, told) in enumerate(zip(states, watched.outputs(len(spans)), strict=True))
    ]
    return Curves(
        np.stack([log_amplitude(over) for over, _ in pairs]),
        np.stack([log_amplitude(mid) for _, mid in pairs]),
        np.array([disagreement(views, overlap) for views in clean]),
    )
