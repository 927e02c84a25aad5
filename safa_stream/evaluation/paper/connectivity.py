"""Connectivity inheritance: how far one constant linear map leads from latents to the downsampled spectrogram.

The paper's claim (arXiv 2502.05130): Downsample(X) ~ W_c Z with one channel-wise map W_c for all times and frequencies,
so latents inherit the spectrum's high-frequency variation. X is the log-mel of the decoded sound, 100 frames a second,
here averaged over each latent frame. Clips that were not fitted on give the error.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_stream.evaluation import spectra
from safa_stream.evaluation.generate import encode
from safa_stream.evaluation.paper import making
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.paper.hearing import at_own_rate
from safa_stream.evaluation.paper.pace import Pace
from safa_stream.evaluation.paper.provenance import Provenance
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.interface import Model
from safa_stream.types import DoubleArray, FloatArray

#: Every so many clips one is held out.
HELD_OUT = 4


def downsample(mel: npt.ArrayLike, frames: int) -> DoubleArray:
    """A log-mel [J, B] as its means over `frames` equal stretches of time, [frames, B]; J is a multiple of `frames`."""
    rows = np.asarray(mel, np.float64)
    return np.asarray(rows.reshape(frames, len(rows) // frames, rows.shape[1]).mean(1))


def by_frame(latents: FloatArray) -> DoubleArray:
    """Latents [C, T, F] as one row [C F] a frame."""
    return np.moveaxis(latents, 1, 0).reshape(latents.shape[1], -1).astype(np.float64)


def by_place(latents: FloatArray) -> DoubleArray:
    """Latents [C, T, F] as one row [C] a place (t, f), times outermost."""
    return np.moveaxis(latents, 0, -1).reshape(-1, latents.shape[0]).astype(np.float64)


def grouped_bands(mel: DoubleArray, groups: int) -> DoubleArray:
    """A log-mel [T, B] as one row [1] a place (t, f): its means over `groups` stretches of bands."""
    return np.stack([part.mean(1) for part in np.array_split(mel, groups, axis=1)], axis=1).reshape(-1, 1)


def fit(latents: DoubleArray, spectrum: DoubleArray) -> DoubleArray:
    """Least-squares W_c [Cz + 1, Cx] from rows [n, Cz] to rows [n, Cx]; the last row is the constant."""
    return np.asarray(np.linalg.lstsq(_with_one(latents), spectrum, rcond=None)[0])


def predict(weights: DoubleArray, latents: DoubleArray) -> DoubleArray:
    """W_c of rows [n, Cz]: rows [n, Cx]."""
    return np.asarray(_with_one(latents) @ weights)


def relative_error(spectrum: DoubleArray, predicted: DoubleArray, mean: DoubleArray) -> DoubleArray:
    """Squared error over the variance about `mean` [Cx], by column [Cx]; 0 is exact, 1 is no better than the mean."""
    return np.asarray(((spectrum - predicted) ** 2).sum(0) / (((spectrum - mean) ** 2).sum(0) + 1e-12))


def change_kept(spectrum: Sequence[DoubleArray], predicted: Sequence[DoubleArray]) -> float:
    """Mean |change from frame to frame| of the predictions over that of the spectra, of clips of rows [T, Cx]."""
    after, before = (np.mean([np.abs(np.diff(rows, axis=0)).mean() for rows in side]) for side in (predicted, spectrum))
    return float(after / before)


def _with_one(rows: DoubleArray) -> DoubleArray:
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What one map makes of the held-out clips: truth and predictions of each, and the fitted clips' mean [Cx]."""

    truth: list[DoubleArray]
    predicted: list[DoubleArray]
    mean: DoubleArray

    @classmethod
    def of(cls, pairs: Sequence[tuple[DoubleArray, DoubleArray]], held: npt.NDArray[np.bool_]) -> Fitted:
        """Fit on the pairs (latents, spectrum) that are not held out."""
        known = [pair for pair, out in zip(pairs, held, strict=True) if not out]
        others = [pair for pair, out in zip(pairs, held, strict=True) if out]
        z, x = (np.concatenate([pair[side] for pair in known]) for side in (0, 1))
        weights = fit(z, x)
        return cls([x for _, x in others], [predict(weights, z) for z, _ in others], x.mean(0))

    def errors(self) -> DoubleArray:
        """The relative error by column [Cx]."""
        return relative_error(np.concatenate(self.truth), np.concatenate(self.predicted), self.mean)

    def error(self) -> float:
        """The relative error of all columns together."""
        truth, predicted = np.concatenate(self.truth), np.concatenate(self.predicted)
        return float(((truth - predicted) ** 2).sum() / (((truth - self.mean) ** 2).sum() + 1e-12))


@dataclass(frozen=True, slots=True)
class ConnectivityReport:
    """Held-out relative errors: with one map of whole frames, by band and all together, and channel-wise by place."""

    frame_error: float
    frame_error_by_band: DoubleArray
    place_error: float
    change_kept: float
    clips: int
    held_out: int
    values: int
    channels: int
    made: Provenance

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "frame_error": self.frame_error,
            "frame_error_by_band": self.frame_error_by_band.tolist(),
            "channelwise_error": self.place_error,
            "change_kept": self.change_kept,
            "clips": self.clips,
            "held_out": self.held_out,
            **self.made.as_dict(),
        }


def measure(model: Model, setup: Setup, say: Report = quiet) -> ConnectivityReport:
    """Make native views of every clip, fit on three clips of four, and tell the error on the others.

    With fewer than four clips the last one is held out; one clip alone is fitted on its first views.
    """
    begun = time.perf_counter()
    pace = Pace(len(setup.clips), len(setup.clips), say)
    latents: list[FloatArray] = []
    spectrums: list[DoubleArray] = []
    for prompt, seed in setup.clips:
        take = making.native(
            model, setup.reference_views, setup.steps, encode(model, prompt, seed), setup.guidance, seed
        )
        for piece, view in zip(take.pieces, np.split(take.latents, len(take.pieces), axis=1), strict=True):
            mel = spectra.log_mel(at_own_rate(piece, model.facts.sample_rate))
            count = view.shape[1]
            latents.append(view)
            spectrums.append(downsample(mel[: len(mel) // count * count], count))
        pace.passed(1.0, f"{prompt}, seed {seed}")
    group = np.repeat(np.arange(len(setup.clips)), setup.reference_views)
    held = group % HELD_OUT == HELD_OUT - 1 if len(setup.clips) >= HELD_OUT else group == group[-1]
    if held.all():
        held = np.arange(len(group)) == len(group) - 1
    facts = model.facts
    frames = Fitted.of([(by_frame(z), x) for z, x in zip(latents, spectrums, strict=True)], held)
    bins = [grouped_bands(x, facts.latent_bins) for x in spectrums]
    places = Fitted.of([(by_place(z), x) for z, x in zip(latents, bins, strict=True)], held)
    return ConnectivityReport(
        frames.error(),
        frames.errors(),
        places.error(),
        change_kept(frames.truth, frames.predicted),
        len(setup.clips),
        int(held.sum()),
        facts.latent_channels * facts.latent_bins,
        facts.latent_channels,
        Provenance.since(begun, model, setup),
    )
