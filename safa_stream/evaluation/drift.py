"""Does a long stream stay what it is? Loudness and liveliness by minute, and whether anything comes again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safa_stream import loudness
from safa_stream.corpus.recordings import list_recordings, read_recording
from safa_stream.engine import chunks
from safa_stream.errors import TrainingDataError
from safa_stream.evaluation import spectra
from safa_stream.evaluation.clips import at_level
from safa_stream.evaluation.embedding import Embedder, Projection, Statistics
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import Report, quiet, text_table
from safa_stream.models.builtin.features import SAMPLE_RATE, Array
from safa_stream.models.interface import Model
from safa_stream.scene import Scene
from safa_stream.types import DoubleArray

#: So many windows in a row are compared at a time (about 5 s), and only with those at least this many windows away.
SEQUENCE, APART = 5, 15
#: Recordings with fewer windows have nothing to compare.
LEAST_WINDOWS = 30


@dataclass(frozen=True, slots=True)
class DriftReport:
    """By minute: loudness (LUFS) and high-frequency variance. Peaks of self-similarity, -1..1, nan where unknown."""

    minutes: int
    loudness: DoubleArray
    hf_variance: DoubleArray
    peak: float
    peak_real: float
    largest: float
    embedding: str


def high_frequency_variance(mel: Array) -> float:
    """Mean over bands of the variance of the frame-to-frame change of a log-mel [J, B], nats²."""
    return float(np.diff(mel.astype(np.float64), axis=0).var(0).mean())


def self_similarity(rows: Array) -> DoubleArray:
    """Similarities of all pairs of sequences of `SEQUENCE` windows that lie `APART` or further from each other.

    rows [n, D]: embeddings of the windows of one sound in order. Their mean is taken out, so that what all windows
    share (a steady sound) is no repetition.
    """
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(centred, SEQUENCE, axis=0)
    sequences = windows.reshape(len(windows), -1)
    unit = sequences / np.maximum(np.linalg.norm(sequences, axis=1, keepdims=True), 1e-9)
    first, second = np.triu_indices(len(unit), APART)
    return np.asarray((unit @ unit.T)[first, second])


def matched_peak(similarities: DoubleArray, pairs: int) -> float:
    """The largest similarity that `pairs` pairs out of these show on average: a longer sound has more chances."""
    if not len(similarities):
        return float("nan")
    return float(np.quantile(similarities, max(0.0, 1.0 - 1.0 / max(1, min(pairs, len(similarities))))))


def minutes_of(parts: Iterable[Array], count: int) -> Iterator[Array]:
    """Samples [channels, N] that come in parts, as `count` whole minutes."""
    length, held, filled, given = 60 * SAMPLE_RATE, [], 0, 0
    for part in parts:
        held.append(part)
        filled += part.shape[1]
        while filled >= length and given < count:
            joined = np.concatenate(held, axis=1)
            yield joined[:, :length]
            held, filled, given = [joined[:, length:]], filled - length, given + 1


def measure(
    model: Model,
    scene: Scene,
    minutes: int = 30,
    recordings: Path | None = None,
    sound: str | None = None,
    embedder: Embedder | None = None,
    report: Report = quiet,
) -> DriftReport:
    """Stream `scene` for `minutes` and follow it; memory holds one minute.

    recordings: folder of real recordings; with `sound`, only those of that class are the yardstick of repetition.
    """
    embedder = embedder or Statistics()
    loud, lively, rows = [], [], []
    stream = (chunk.samples for chunk in chunks(model, scene, minutes * 60.0 + 1.0))
    for number, minute in enumerate(minutes_of(stream, minutes), 1):
        loud.append(loudness.integrated(minute, SAMPLE_RATE))
        lively.append(high_frequency_variance(spectra.log_mel(minute)))
        rows.append(embedder.embed(at_level(minute)))
        report(f"minute {number} of {minutes}: {loud[-1]:.1f} LUFS")
    real = real_rows(recordings, sound, embedder, report) if recordings else []
    # One scaling for both, so that no dimension counts more in the one than in the other.
    whiten = Projection.fit(np.concatenate([*real, *rows]))
    real_pairs = [self_similarity(whiten(r)) for r in real]
    own = self_similarity(whiten(np.concatenate(rows)))
    count = sum(len(pairs) for pairs in real_pairs)
    return DriftReport(
        minutes=minutes,
        loudness=np.array(loud),
        hf_variance=np.array(lively),
        peak=matched_peak(own, count or len(own)),
        peak_real=float(max(pairs.max() for pairs in real_pairs)) if real_pairs else float("nan"),
        largest=float(own.max()) if len(own) else float("nan"),
        embedding=embedder.name,
    )


def real_rows(folder: Path, sound: str | None, embedder: Embedder, report: Report = quiet) -> list[Array]:
    """Embeddings of every recording of the class that is long enough, one array each."""
    out = []
    for recording in list_recordings(folder):
        if sound and recording.label != sound:
            continue
        try:
            rows = embedder.embed(at_level(read_recording(recording.path)))
        except TrainingDataError as error:
            report(f"skipped: {error}")
            continue
        if len(rows) >= LEAST_WINDOWS:
            out.append(rows)
            report(f"recording {recording.path.name}: {len(rows)} windows")
    return out


def as_dict(report: DriftReport) -> dict[str, Any]:
    """The report as JSON values: the largest drift of any minute against minute 1, and the peaks."""
    variance = report.hf_variance / report.hf_variance[0] - 1.0
    loud = report.loudness - report.loudness[0]
    return {
        "loudness_drift_lu": float(loud[np.abs(loud).argmax()]),
        "hf_variance_drift": float(variance[np.abs(variance).argmax()]),
        "self_similarity_peak": report.peak,
        "self_similarity_peak_real": report.peak_real,
        "self_similarity_largest": report.largest,
        "minutes": report.minutes,
        "embedding": report.embedding,
        "loudness_by_minute": list(report.loudness),
        "hf_variance_by_minute": list(report.hf_variance),
    }


def table(report: DriftReport) -> str:
    """Minutes and the summary as text."""
    figures = as_dict(report)
    rows: Sequence[Sequence[object]] = [
        [str(n + 1), a, b, b / float(report.hf_variance[0])]
        for n, (a, b) in enumerate(zip(report.loudness.tolist(), report.hf_variance.tolist(), strict=True))
    ]
    lines = [
        text_table(["minute", "LUFS", "variance of change", "of minute 1"], rows),
        f"largest loudness drift  {figures['loudness_drift_lu']:+.2f} LU",
        f"largest variance drift  {100 * figures['hf_variance_drift']:+.1f} %",
        f"self-similarity peak    {report.peak:.3f} (real recordings {report.peak_real:.3f}, by {report.embedding})",
    ]
    return "\n".join(lines)


def picture(report: DriftReport) -> str:
    """Loudness and variance by minute, each relative to minute 1, as SVG text."""
    minutes = np.arange(1, report.minutes + 1)
    return line_plot(
        {
            "loudness, LU": (minutes, report.loudness - report.loudness[0]),
            "variance, x 10 %": (minutes, 10.0 * (report.hf_variance / report.hf_variance[0] - 1.0)),
        },
        "Drift against minute 1",
        "minute",
        "LU, or tens of percent",
        levels=[-1.0, 1.0],
    )
