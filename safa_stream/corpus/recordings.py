"""Read a folder of recordings, with or without a manifest, and say what is wrong with each file that cannot be used."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from safa_stream.errors import TrainingDataError
from safa_stream.models.builtin.features import SAMPLE_RATE, Array

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"}
MINIMUM_SECONDS = 1.0
SILENCE_RMS = 1e-5
TARGET_RMS = 0.05
MAXIMUM_GAIN = 300.0


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of the training folder. `group` names the original recording: files of one group are never split."""

    path: Path
    label: str
    caption: str
    group: str
    licence: str


def list_recordings(folder: Path) -> list[Recording]:
    """All recordings of `folder`, from its MANIFEST.tsv or, without one, from its files.

    A manifest has tab-separated columns with a header: `file` (relative) and optionally `class`, `caption`, `licence`,
    `author`. Without a manifest the class is the name of the file's folder, or of the file where the folder is flat.

    Raises:
        TrainingDataError: the folder or its manifest cannot be read, or it holds no recording.
    """
    if not folder.is_dir():
        raise TrainingDataError(f"no such folder: {folder}")
    manifest = next((p for p in (folder / "MANIFEST.tsv", folder / "manifest.tsv") if p.exists()), None)
    found = _from_manifest(folder, manifest) if manifest else _from_files(folder)
    if not found:
        raise TrainingDataError(f"no recordings in {folder} (looked for {', '.join(sorted(AUDIO_SUFFIXES))})")
    return found


def _from_manifest(folder: Path, manifest: Path) -> list[Recording]:
    with manifest.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    if not rows or "file" not in rows[0]:
        raise TrainingDataError(f"{manifest}: expected tab-separated columns with a header that names 'file'")
    out = []
    for row in rows:
        path = folder / row["file"]
        label = row.get("class") or (path.parent.name if path.parent != folder else path.stem)
        author = row.get("author") or ""
        numbered = re.findall(r"(?:freesound|soundbible) ([0-9]+)", author)
        group = numbered[0] if numbered else row["file"]
        out.append(Recording(path, label.lower(), row.get("caption") or title(path), group, row.get("licence") or ""))
    return out


def _from_files(folder: Path) -> list[Recording]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    return [
        Recording(
            path=p,
            label=(p.parent.name if p.parent != folder else p.stem).lower(),
            caption=title(p),
            group=str(p.relative_to(folder)),
            licence="",
        )
        for p in paths
    ]


def title(path: Path) -> str:
    """A file name as words: what stands before a double underscore (a source), numbers and one-letter words go."""
    name = path.stem.rpartition("__")[2]
    words = re.sub(r"[^A-Za-z]+", " ", re.sub(r"([a-z])([A-Z])", r"\1 \2", name)).split()
    return " ".join(word.lower() for word in words if len(word) > 1)


def read_recording(path: Path) -> Array:
    """A recording as [2, N] samples at 48 kHz, level-normalised; mono is doubled, more than two channels keep two.

    Raises:
        TrainingDataError: the file is missing, not audio, empty, too short, silent or not finite.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise TrainingDataError(f"cannot read {path}: {error}") from error
    if not np.isfinite(samples).all():
        raise TrainingDataError(f"{path} holds samples that are not finite")
    if len(samples) < MINIMUM_SECONDS * rate:
        raise TrainingDataError(f"{path} is shorter than {MINIMUM_SECONDS:g} s ({len(samples) / rate:.2f} s)")
    if samples.shape[1] == 1:
        samples = np.repeat(samples, 2, axis=1)
    samples = samples[:, :2]
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
    rms = float(np.sqrt(np.mean(samples**2)))
    if rms < SILENCE_RMS:
        raise TrainingDataError(f"{path} is silent")
    return np.ascontiguousarray(samples.T * np.float32(min(MAXIMUM_GAIN, TARGET_RMS / rms)))
