"""What is heard in a take by the networks at hand, and which network stands behind which column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from safa_stream.evaluation import aliasing
from safa_stream.evaluation.clips import at_level
from safa_stream.evaluation.embedding import Classifier, Embedder, Statistics
from safa_stream.evaluation.paper import measures
from safa_stream.evaluation.paper.clap import Clap
from safa_stream.evaluation.paper.files import FileEmbedder
from safa_stream.evaluation.paper.making import Take
from safa_stream.models.builtin.features import SAMPLE_RATE, Array
from safa_stream.types import DoubleArray

#: Why no LPIPS: its weights cannot be had without a network, and no file format of theirs is agreed on.
NO_LPIPS = "the perceptual network's weights (VGG) can only be had from the net"


@dataclass(frozen=True, slots=True)
class Ears:
    """The networks of a run; `missing` says for every column without one why it is empty."""

    main: Embedder
    fad: Embedder | None = None
    clap: Clap | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Which network made which column."""
        named = {"fd": self.main.name, "i_similarity": self.main.name}
        if isinstance(self.main, Classifier):
            named["kl"] = self.main.name
        if self.fad is not None:
            named["fad"] = self.fad.name
        if self.clap is not None:
            named |= {"clap": self.clap.name, "i_clap": self.clap.name}
        return named

    @property
    def missing(self) -> dict[str, str]:
        """Why columns are empty."""
        reasons = {
            "kl": "no classes without a classifier: give --classifier FILE",
            "fad": "no second embedding network: give --fad FILE (VGGish or another, .onnx or .tflite)",
            "clap": "no CLAP model: give --clap FOLDER_OR_ID",
            "i_clap": "no CLAP model: give --clap FOLDER_OR_ID",
            "i_lpips": NO_LPIPS,
        }
        return {name: reason for name, reason in reasons.items() if name not in self.columns}

    @property
    def label(self) -> str:
        """Both in one line, as every row tells it."""
        networks: dict[str, list[str]] = {}
        for column, name in self.columns.items():
            networks.setdefault(name, []).append(TITLES[column])
        return "; ".join(f"{', '.join(columns)}: {name}" for name, columns in networks.items())


#: Columns as tables show them.
TITLES: Mapping[str, str] = {
    "fd": "FD",
    "fad": "FAD",
    "kl": "KL",
    "clap": "CLAP",
    "i_lpips": "I-LPIPS",
    "i_clap": "I-CLAP",
    "i_similarity": "I-similarity",
}


def open_ears(classifier: Path | None, fad: Path | None, clap: str | None) -> Ears:
    """The networks that were given. Raises UsageError for one that cannot be used."""
    main: Embedder = Classifier(classifier) if classifier else Statistics()
    return Ears(main, FileEmbedder(fad) if fad else None, Clap(clap) if clap else None)


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What is kept of a take: embeddings of its windows, its pieces' mean embeddings, and how fast it changes.

    rows [n, D], shares [K] of the classes, fad_rows [n, E], piece_rows [p, D], clap_rows [p, G], clap: mean cosine of
    the pieces with the prompt's words; times [k] and change [k] are the D of the aliasing ratio.
    """

    rows: Array
    piece_rows: Array
    times: DoubleArray
    change: DoubleArray
    shares: DoubleArray | None = None
    fad_rows: Array | None = None
    clap_rows: Array | None = None
    clap: float = float("nan")
    calls: int = 0
    batches: int = 0
    seconds: float = 0.0
    denoise_seconds: float = 0.0
    sounding: float = 0.0
    piece_seconds: float = 0.0

    @property
    def level(self) -> float:
        """Mean change away from the pieces' ends, so that native views are not judged by where they meet."""
        starts = np.arange(len(self.piece_rows)) * self.piece_seconds
        windows = [(float(start), float(start) + self.piece_seconds) for start in starts]
        return aliasing.mean_inside(self.times, self.change, windows)


def hear(take: Take, ears: Ears, prompt: str, rate: int) -> Heard:
    """Listen to a take of a model of `rate` samples a second, all of it brought to one level."""
    sound = at_level(at_own_rate(take.samples, rate))
    pieces = tuple(np.array_split(sound, len(take.pieces), axis=1))
    rows, scores = [], []
    for piece in pieces:
        if isinstance(ears.main, Classifier):
            row, score = ears.main.hear(piece)
            scores.append(score)
        else:
            row = ears.main.embed(piece)
        rows.append(row)
    clap_rows = None if ears.clap is None else ears.clap.sounds(pieces)
    times, change = aliasing.change(aliasing.at_paper_rate(sound, SAMPLE_RATE))
    return Heard(
        rows=np.concatenate(rows),
        piece_rows=np.stack([row.mean(0) for row in rows]),
        times=times,
        change=change,
        shares=measures.shares(np.concatenate(scores)) if scores else None,
        fad_rows=None if ears.fad is None else np.concatenate([ears.fad.embed(piece) for piece in pieces]),
        clap_rows=clap_rows,
        clap=measures.cosine_to(clap_rows, ears.clap.words(prompt)) if ears.clap and clap_rows is not None else np.nan,
        calls=take.calls,
        batches=take.batches,
        seconds=take.seconds,
        denoise_seconds=take.denoise_seconds,
        sounding=sound.shape[1] / SAMPLE_RATE,
        piece_seconds=sound.shape[1] / SAMPLE_RATE / len(pieces),
    )


def at_own_rate(samples: Array, rate: int) -> Array:
    """[channels, N] at `rate` to the 48 kHz that embeddings are made at."""
    if rate == SAMPLE_RATE:
        return samples
    return np.asarray(soxr.resample(samples.T, rate, SAMPLE_RATE).T, np.float32)
