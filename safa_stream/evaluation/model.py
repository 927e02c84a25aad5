"""Does the model sound like the recordings? Generated clips against real ones, every figure beside the real one's own.

Real clips are the recordings cut in the clips' length, with the split that training uses. A figure of real clips is
what a perfect model would get: the probe's score on held-out recordings, the Fréchet distance between halves of the
recordings, the distance of held-out windows to training windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_stream.errors import UsageError
from safa_stream.evaluation import frechet, spectra
from safa_stream.evaluation.clips import (
    Clip,
    ClipTable,
    Corpus,
    at_level,
    held_out_clip,
    measure_clips,
    read_corpus,
    real_table,
)
from safa_stream.evaluation.embedding import Embedder, Projection, embedder
from safa_stream.evaluation.generate import clip, prompts_of
from safa_stream.evaluation.probe import Probe, fit
from safa_stream.evaluation.tables import Report, quiet, text_table
from safa_stream.models.builtin.features import Array
from safa_stream.models.interface import Model
from safa_stream.types import DoubleArray

#: Penalty of the probe; from 0.01 to 1 its score on held-out recordings hardly moves.
PENALTY = 0.03
#: Whitened components in which windows' distances are taken, and plain ones in which sets' Fréchet distances are: few
#: windows cannot tell the covariance of a thousand dimensions.
COMPONENTS, FRECHET_COMPONENTS = 64, 128
#: A class whose recordings have fewer onsets a second has no onset rate to compare.
LEAST_ONSETS = 0.1


@dataclass(frozen=True, slots=True)
class Real:
    """The real side of all measures: the clips' table, the probe and the projections fitted on training windows.

    labels: classes by the probe's number.
    """

    table: ClipTable
    labels: tuple[str, ...]
    probe: Probe
    whiten: Projection
    reduce: Projection


@dataclass(frozen=True, slots=True)
class ModelReport:
    """Figures of all classes together, by class, and how they were made."""

    figures: dict[str, Any]
    classes: dict[str, dict[str, float]]


def prepare_real(table: ClipTable) -> Real:
    """Train the probe and the projections on the windows that are not held out."""
    labels = tuple(sorted(set(table.label.tolist())))
    training = table.windows(~table.held)
    number = np.array([labels.index(name) for name in table.label])[table.window_clip]
    probe = fit(table.rows[training], number[training], len(labels), PENALTY)
    known = table.rows[training]
    return Real(
        table, labels, probe, Projection.fit(known, COMPONENTS), Projection.fit(known, FRECHET_COMPONENTS, whiten=False)
    )


def named(real: Real, table: ClipTable) -> npt.NDArray[np.intp]:
    """For each clip of `table`, the rank [clips] that the probe gives its own class (0: named right)."""
    out = np.empty(len(table.label), np.intp)
    logp = real.probe.log_probabilities(table.rows)
    for index, label in enumerate(table.label):
        mean = logp[table.window_clip == index].mean(0)
        out[index] = int((mean > mean[real.labels.index(label)]).sum())
    return out


def measure(
    model: Model,
    recordings: Path,
    classifier: Path | None = None,
    clips: int = 20,
    seconds: float = 10.0,
    guidance: float | None = None,
    steps: int | None = None,
    seeds: Sequence[int] = (),
    classes: Sequence[str] = (),
    pairs: int = 20,
    cache: Path | None = None,
    report: Report = quiet,
) -> ModelReport:
    """Generate `clips` clips a class (seeds 0.. unless given) and `pairs` captions of two sounds, and measure them.

    classes: those to measure, the model's that have recordings where none is named; the probe always knows all.
    cache: a folder for the measured recordings, which take minutes.

    Raises:
        UsageError: the classifier cannot be used, or no class has recordings.
        TrainingDataError: the recordings cannot be read.
    """
    source = embedder(classifier)
    corpus = read_corpus(recordings, cache, report)
    real = prepare_real(real_table(corpus, source, seconds, cache, report))
    labels = {_plain(label): label for label in real.labels}
    asked = prompts_of(model, tuple(classes))
    prompts = {labels[_plain(name)]: line for name, line in asked.items() if _plain(name) in labels}
    if not prompts:
        raise UsageError(f"none of the model's sounds has recordings in {recordings} (there: {', '.join(real.labels)})")
    numbers = list(seeds) or list(range(clips))

    def generated() -> Iterator[Clip]:
        for at, (label, prompt) in enumerate(prompts.items(), 1):
            report(f"[{at}/{len(prompts)}] {label}: {len(numbers)} clips")
            for seed in numbers:
                yield Clip(clip(model, prompt, seconds, seed, steps, guidance), label, str(seed))

    made = measure_clips(generated(), source)
    figures = compare(real, made)
    two = {
        "two_sounds_recognised": two_sounds(model, real, source, prompts, pairs, seconds, report),
        "two_sounds_recognised_real": two_real_sounds(real, source, corpus, tuple(prompts), pairs, seconds),
    }
    how = {
        "model": f"{model.facts.name} {model.facts.version}",
        "embedding": source.name,
        "clips_per_class": len(numbers),
        "clip_seconds": seconds,
    }
    return ModelReport({**figures.figures, **two, **how}, figures.classes)


def _plain(name: str) -> str:
    """A class's name without what folders and models write differently."""
    return name.lower().replace("_", "").replace(" ", "").replace("-", "")


def compare(real: Real, made: ClipTable) -> ModelReport:
    """All figures of a table of generated clips; its labels must be among the real ones'."""
    right, right_real = named(real, made) == 0, named(real, real.table) == 0
    nearest, nearest_real = distances(real, made)
    classes: dict[str, dict[str, float]] = {}
    for label in sorted(set(made.label.tolist())):
        mine, theirs = made.label == label, real.table.label == label
        held = theirs & real.table.held
        row = {
            "probe_accuracy": float(right[mine].mean()),
            "probe_accuracy_heldout_real": float(right_real[held].mean()),
            **_frechet(real, made, label),
            **_character(made, mine, real.table, theirs),
            "nearest_training_distance": float(nearest[made.windows(mine)].mean()),
            "nearest_training_distance_heldout_real": float(nearest_real[real.table.windows(held)].mean()),
            "diversity": diversity(real.whiten(made.rows), made, mine),
            "diversity_real": diversity(real.whiten(real.table.rows), real.table, theirs),
            "minutes_of_recordings": float(real.table.seconds[theirs].sum() / 60.0),
        }
        classes[label] = row
    figures: dict[str, Any] = {
        name: float(np.nanmean([row[name] for row in classes.values()])) for name in next(iter(classes.values()))
    }
    figures["minutes_of_recordings"] = float(real.table.seconds.sum() / 60.0)
    figures["probe_accuracy_heldout_real_clips"] = float(right_real[real.table.held].mean())
    return ModelReport(figures, classes)


def _frechet(real: Real, made: ClipTable, label: str) -> dict[str, float]:
    """Distance of a class's generated windows to the real ones and between halves of the real, at one set size."""
    chosen = real.table.windows(real.table.label == label)
    rows = real.reduce(real.table.rows[chosen]).astype(np.float64)
    groups = real.table.group[real.table.window_clip][chosen].tolist()
    own = real.reduce(made.rows[made.windows(made.label == label)]).astype(np.float64)
    size = min(len(own), frechet.half_size(groups))
    distance = frechet.frechet_distance(frechet.spread_rows(own, size), frechet.spread_rows(rows, size))
    return {"frechet": distance, "frechet_real_halves": frechet.half_distance(rows, groups, size)}


def _character(
    made: ClipTable, mine: npt.NDArray[np.bool_], real: ClipTable, theirs: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Modulation, crest, onsets, loudness and stereo of generated and real clips."""
    generator = np.random.default_rng(0)
    mean, mean_real = made.modulation[mine].mean(0), real.modulation[theirs].mean(0)
    half = frechet.halves(real.group[theirs].tolist(), generator)
    one, two = real.modulation[theirs][half].mean(0), real.modulation[theirs][~half].mean(0)
    onsets, onsets_real = float(made.onsets[mine].mean()), float(real.onsets[theirs].mean())
    return {
        "modulation_error_db": spectra.modulation_error(mean, mean_real),
        "modulation_error_db_real_halves": spectra.modulation_error(one, two),
        "crest_factor": float(np.median(made.crest[mine])),
        "crest_factor_real": float(np.median(real.crest[theirs])),
        "crest_factor_ratio": float(np.median(made.crest[mine]) / np.median(real.crest[theirs])),
        "onset_rate": onsets,
        "onset_rate_real": onsets_real,
        "onset_rate_ratio": onsets / onsets_real if onsets_real >= LEAST_ONSETS else float("nan"),
        "loudness_spread_lu": float(np.median(made.movement[mine])),
        "loudness_spread_lu_real": float(np.median(real.movement[theirs])),
        "channel_correlation": float(made.correlation[mine].mean()),
        "channel_correlation_real": float(real.correlation[theirs].mean()),
        "channel_correlation_real_stereo": float(np.mean(real.correlation[theirs & real.stereo]))
        if (theirs & real.stereo).any()
        else float("nan"),
    }


def distances(real: Real, made: ClipTable) -> tuple[DoubleArray, DoubleArray]:
    """Distance of every generated and of every real window to the nearest training window, whitened embeddings.

    Real windows that were trained on are at distance 0 to themselves and are told as nan.
    """
    training = real.table.windows(~real.table.held)
    known = real.whiten(real.table.rows[training]).astype(np.float64)
    out = []
    for rows in (made.rows, real.table.rows):
        points = real.whiten(rows).astype(np.float64)
        squares = (points**2).sum(1)[:, None] + (known**2).sum(1)[None] - 2.0 * points @ known.T
        out.append(np.sqrt(np.maximum(squares.min(1), 0.0)))
    return out[0], np.where(training, np.nan, out[1])


def diversity(rows: Array, table: ClipTable, chosen: npt.NDArray[np.bool_]) -> float:
    """Mean distance between mean embeddings of the chosen clips of different groups (recordings, or seeds)."""
    clips = np.flatnonzero(chosen)
    means = np.stack([rows[table.window_clip == index].mean(0) for index in clips]).astype(np.float64)
    apart = table.group[clips][:, None] != table.group[clips][None]
    if not apart.any():
        return float("nan")
    return float(np.linalg.norm(means[:, None] - means[None], axis=2)[apart].mean())


def in_top(real: Real, rows: Array, labels: Sequence[str], places: int = 3) -> bool:
    """Whether all `labels` are among the probe's best `places` for a clip's windows [n, D]."""
    best = real.probe.clip(rows).argsort()[::-1][:places]
    return {real.labels[index] for index in best} >= set(labels)


def choose_pairs(labels: Sequence[str], count: int) -> list[tuple[str, str]]:
    """`count` different pairs, always the same for the same labels, every label about as often."""
    every = [(a, b) for at, a in enumerate(labels) for b in labels[at + 1 :]]
    order = np.random.default_rng(1).permutation(len(every))
    used = dict.fromkeys(labels, 0)
    chosen: list[tuple[str, str]] = []
    remaining = [every[index] for index in order]
    while remaining and len(chosen) < count:
        pair = min(remaining, key=lambda p: used[p[0]] + used[p[1]])
        remaining.remove(pair)
        chosen.append(pair)
        for label in pair:
            used[label] += 1
    return chosen


def two_sounds(
    model: Model,
    real: Real,
    source: Embedder,
    prompts: Mapping[str, str],
    count: int,
    seconds: float,
    report: Report = quiet,
) -> float:
    """Share of captions of two sounds ("rain and wind") whose clip has both in the probe's top 3."""
    hits = []
    for seed, (first, second) in enumerate(choose_pairs(list(prompts), count)):
        samples = at_level(clip(model, f"{prompts[first]} and {prompts[second]}", seconds, seed))
        hits.append(in_top(real, source.embed(samples), (first, second)))
        report(f"{first} and {second}: {'both' if hits[-1] else 'not both'} in the top 3")
    return float(np.mean(hits)) if hits else float("nan")


def two_real_sounds(
    real: Real, source: Embedder, corpus: Corpus, labels: Sequence[str], count: int, seconds: float
) -> float:
    """The same share for held-out recordings of the same classes, two played together at equal level."""
    held = {label: held_out_clip(corpus, label, seconds) for label in labels}
    hits = []
    for first, second in choose_pairs(labels, count):
        length = min(held[first].shape[1], held[second].shape[1])
        mixed = at_level(held[first][:, :length]) + at_level(held[second][:, :length])
        hits.append(in_top(real, source.embed(at_level(mixed)), (first, second)))
    return float(np.mean(hits)) if hits else float("nan")


def as_dict(report: ModelReport) -> dict[str, Any]:
    """The report as JSON values: figures of all classes on top, each class's under `classes`."""
    return {**report.figures, "classes": report.classes}


def table(report: ModelReport) -> str:
    """Classes and their mean as text; a figure of real recordings stands after the generated one's."""
    columns = (
        ("named", "probe_accuracy"),
        ("real", "probe_accuracy_heldout_real"),
        ("Fréchet", "frechet"),
        ("halves", "frechet_real_halves"),
        ("modulation dB", "modulation_error_db"),
        ("halves", "modulation_error_db_real_halves"),
        ("crest", "crest_factor_ratio"),
        ("onsets", "onset_rate_ratio"),
        ("nearest", "nearest_training_distance"),
        ("real", "nearest_training_distance_heldout_real"),
        ("diversity", "diversity"),
        ("real", "diversity_real"),
        ("stereo", "channel_correlation"),
        ("real", "channel_correlation_real"),
    )
    rows = [[name, *(row[key] for _, key in columns)] for name, row in report.classes.items()]
    rows.append(["mean", *(report.figures[key] for _, key in columns)])
    both, real = (float(report.figures[f"two_sounds_recognised{suffix}"]) for suffix in ("", "_real"))
    how = report.figures
    lines = [
        f"{how['model']}, {how['clips_per_class']} clips a class, by {how['embedding']}",
        text_table(["class", *(title for title, _ in columns)], rows),
        f"both of two sounds in the probe's top 3: {both:.2f} (real recordings together: {real:.2f})",
    ]
    return "\n".join(lines)
