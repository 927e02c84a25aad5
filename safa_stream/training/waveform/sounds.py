"""A folder of recordings as mono samples in whole latent frames, and random passages of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from safa_stream.corpus.recordings import list_recordings, read_recording
from safa_stream.corpus.split import Passage, split
from safa_stream.errors import TrainingDataError
from safa_stream.models.builtin.features import SAMPLE_RATE, Array
from safa_stream.training.waveform.checkpoint import FRAME, RATE


@dataclass(frozen=True, slots=True, eq=False)
class Sounds:
    """All recordings on end, [frames, FRAME] at RATE; passages count in frames."""

    labels: tuple[str, ...]
    frames: Array
    passages: tuple[Passage, ...]


def read_sounds(folder: Path, report: Callable[[str], None]) -> Sounds:
    """Every usable recording of a folder, at the corpus' even loudness; of others the reason is reported.

    Raises TrainingDataError where the folder holds none.
    """
    kept, samples = [], []
    for recording in list_recordings(folder):
        try:
            mono = read_recording(recording.path).mean(0)
        except TrainingDataError as error:
            report(f"left out: {error}")
            continue
        low = np.asarray(soxr.resample(mono, SAMPLE_RATE, RATE), np.float32)
        samples.append(low[: len(low) // FRAME * FRAME].reshape(-1, FRAME))
        kept.append(recording)
    if not kept:
        raise TrainingDataError(f"no recording in {folder} can be used")
    passages = split(kept, [len(rows) for rows in samples])
    return Sounds(tuple(sorted({r.label for r in kept})), np.concatenate(samples), tuple(passages))


def draw_passages(
    sounds: Sounds, count: int, frames: int, held_out: bool, draw: np.random.Generator
) -> list[tuple[int, slice]]:
    """`count` random (label, stretch of `frames` frames); every label comes equally often, then by length.

    Raises TrainingDataError where no passage is so long.
    """
    fitting = [p for p in sounds.passages if p.held_out == held_out and p.stop - p.start >= frames]
    if not fitting:
        kind = "held-out passage" if held_out else "recording"
        raise TrainingDataError(f"no {kind} is as long as {frames * FRAME / RATE:.1f} s")
    by_label: dict[int, list[Passage]] = {}
    for passage in fitting:
        by_label.setdefault(passage.label, []).append(passage)
    labels, out = sorted(by_label), []
    for _ in range(count):
        members = by_label[labels[int(draw.integers(len(labels)))]]
        places = np.array([p.stop - p.start - frames + 1 for p in members])
        chosen = members[int(draw.choice(len(members), p=places / places.sum()))]
        start = int(draw.integers(chosen.start, chosen.stop - frames + 1))
        out.append((chosen.label, slice(start, start + frames)))
    return out
