"""What is measured of every clip, real or generated, and the real clips of a folder of recordings with their split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from safa_stream import loudness
from safa_stream.corpus.recordings import Recording, list_recordings, read_recording
from safa_stream.corpus.split import Passage, split
from safa_stream.errors import TrainingDataError
from safa_stream.evaluation import spectra
from safa_stream.evaluation.embedding import Embedder
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.builtin.features import SAMPLE_RATE, SAMPLES_PER_TOKEN, Array

#: Clips are brought to this level before they are embedded, so that neither recordings nor renders gain by loudness.
CLIP_RMS = 0.05
#: What is left of a passage after its last whole clip counts as a clip from this length.
MINIMUM_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ClipTable:
    """Clips and their windows as columns.

    A clip has: label, group (recording), held (held out of training), seconds, stereo, crest, onsets (a second),
    correlation (left to right), movement (loudness spread, LU) and modulation [clips, M]. A window has: clip, row [D].
    """

    label: npt.NDArray[np.str_]
    group: npt.NDArray[np.str_]
    held: npt.NDArray[np.bool_]
    seconds: Array
    stereo: npt.NDArray[np.bool_]
    crest: Array
    onsets: Array
    correlation: Array
    movement: Array
    modulation: Array
    window_clip: npt.NDArray[np.intp]
    rows: Array

    def windows(self, clips: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which windows belong to the chosen clips."""
        return np.asarray(clips[self.window_clip])


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: samples [channels, N] at 48 kHz with the name of its class and of its recording (or seed)."""

    samples: Array
    label: str
    group: str
    held: bool = False


def measure_clips(clips: Iterator[Clip], embedder: Embedder) -> ClipTable:
    """Measure clips one by one; only the figures are kept."""
    columns: dict[str, list[Any]] = {f.name: [] for f in fields(ClipTable)}
    for number, clip in enumerate(clips):
        samples = at_level(clip.samples)
        mel = spectra.log_mel(samples)
        rows = embedder.embed(samples)
        correlation = spectra.channel_correlation(samples)
        found: dict[str, Any] = {
            "label": clip.label,
            "group": clip.group,
            "held": clip.held,
            "seconds": samples.shape[-1] / SAMPLE_RATE,
            "stereo": correlation < 0.9999,
            "crest": spectra.crest_factor(samples),
            "onsets": spectra.onset_rate(mel),
            "correlation": correlation,
            "movement": loudness.spread(spectra.mono(samples), SAMPLE_RATE),
            "modulation": spectra.modulation_spectrum(mel),
            "rows": rows,
            "window_clip": np.full(len(rows), number),
        }
        for name, value in found.items():
            columns[name].append(value)
    joined: dict[str, Any] = {name: np.concatenate(columns.pop(name)) for name in ("rows", "window_clip")}
    return ClipTable(**{name: np.asarray(values) for name, values in columns.items()}, **joined)


def at_level(samples: Array) -> Array:
    """[channels, N] scaled to the level at which all clips are measured."""
    rms = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    return np.asarray(samples * (CLIP_RMS / max(rms, 1e-7)), np.float32)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The usable recordings of a folder and their passages; offsets: each recording's first latent frame."""

    recordings: tuple[Recording, ...]
    passages: tuple[Passage, ...]
    offsets: npt.NDArray[np.intp]

    def cut(self, passage: Passage, samples: Array) -> Array:
        """The passage's part of its recording's samples [channels, N]."""
        begin, end = (int(x - self.offsets[passage.recording]) for x in (passage.start, passage.stop))
        return samples[:, begin * SAMPLES_PER_TOKEN : end * SAMPLES_PER_TOKEN]


def read_corpus(folder: Path, cache: Path | None = None, report: Report = quiet) -> Corpus:
    """The recordings of `folder` with the split that training makes of the same folder.

    The split needs the length of every usable recording, so each is read once for it; `cache` keeps the lengths.

    Raises:
        TrainingDataError: nothing in the folder can be used.
    """
    listed = list_recordings(folder)
    kept = cache / f"lengths-{_key(listed)}.npy" if cache else None
    if kept and kept.exists():
        lengths = np.load(kept, allow_pickle=False)
    else:
        lengths = np.array([_length(recording, report) for recording in listed])
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, lengths)
    usable = [recording for recording, length in zip(listed, lengths, strict=True) if length]
    if not usable:
        raise TrainingDataError(f"nothing in {folder} can be used")
    counted = [int(length) for length in lengths if length]
    offsets = np.concatenate([[0], np.cumsum(counted)]).astype(np.intp)
    return Corpus(tuple(usable), tuple(split(usable, counted)), offsets)


def _length(recording: Recording, report: Report) -> int:
    try:
        return int(read_recording(recording.path).shape[1] // SAMPLES_PER_TOKEN)
    except TrainingDataError as error:
        report(f"skipped: {error}")
        return 0


def _key(*parts: object) -> str:
    """A name for what was measured: recordings are told apart by path and size."""
    plain = []
    for part in parts:
        if isinstance(part, list):
            part = [(r.label, str(r.path), r.path.stat().st_size if r.path.exists() else 0) for r in part]
        plain.append(part)
    return hashlib.sha256(repr(plain).encode()).hexdigest()[:16]


def real_clips(corpus: Corpus, seconds: float = 10.0, report: Report = quiet) -> Iterator[Clip]:
    """All clips of the corpus: its passages cut in pieces of `seconds`."""
    length = int(seconds * SAMPLE_RATE)
    last, samples = -1, np.zeros((2, 0), np.float32)
    for passage in sorted(corpus.passages, key=lambda p: p.start):
        recording = corpus.recordings[passage.recording]
        if passage.recording != last:
            last, samples = passage.recording, read_recording(recording.path)
            report(f"[{last + 1}/{len(corpus.recordings)}] {recording.label}: {recording.path.name}")
        whole = corpus.cut(passage, samples)
        for start in range(0, whole.shape[1], length):
            part = whole[:, start : start + length]
            if part.shape[1] >= MINIMUM_SECONDS * SAMPLE_RATE:
                yield Clip(part, recording.label, recording.group, passage.held_out)


def held_out_clip(corpus: Corpus, label: str, seconds: float) -> Array:
    """The start [channels, N] of the longest held-out passage of a class."""
    labels = sorted({recording.label for recording in corpus.recordings})
    held = [p for p in corpus.passages if p.held_out and labels[p.label] == label]
    longest = max(held, key=lambda p: p.stop - p.start)
    whole = corpus.cut(longest, read_recording(corpus.recordings[longest.recording].path))
    return whole[:, : int(seconds * SAMPLE_RATE)]


def real_table(
    corpus: Corpus, embedder: Embedder, seconds: float = 10.0, cache: Path | None = None, report: Report = quiet
) -> ClipTable:
    """The measured clips of the corpus, from the `cache` folder where the same was measured before."""
    if cache is None:
        return measure_clips(real_clips(corpus, seconds, report), embedder)
    kept = cache / f"real-clips-{_key(list(corpus.recordings), embedder.name, seconds, CLIP_RMS)}.npz"
    if kept.exists():
        with np.load(kept, allow_pickle=False) as columns:
            return ClipTable(**{f.name: columns[f.name] for f in fields(ClipTable)})
    table = measure_clips(real_clips(corpus, seconds, report), embedder)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(kept, **{f.name: getattr(table, f.name) for f in fields(ClipTable)})
    return table
