"""Turn a folder of recordings into one compact feature file: latents, styles, classes and the split that is held out.

The file (safetensors, half precision) is all that training needs: it travels to whatever machine has time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from safa_stream.corpus.recordings import Recording, list_recordings, read_recording
from safa_stream.corpus.split import Passage, split
from safa_stream.errors import TrainingDataError
from safa_stream.models.builtin.features import TOKEN_FEATURES, Array, LatentMap, fit_latent_map, tokens


@dataclass(frozen=True, slots=True)
class Prepared:
    """What training reads. latents: [total tokens, K]."""

    latents: Array
    latent_map: LatentMap
    labels: tuple[str, ...]
    captions: tuple[str, ...]
    passages: tuple[Passage, ...]
    skipped: tuple[str, ...]

    def chosen(self, held_out: bool) -> list[Passage]:
        """The passages of one side of the split."""
        return [p for p in self.passages if p.held_out == held_out]


def prepare(
    folder: Path,
    latent_size: int,
    report: Callable[[str], None] = lambda line: None,
    latent_map: LatentMap | None = None,
) -> Prepared:
    """Analyse every usable recording of `folder`.

    A recording that cannot be used is skipped with its reason in `skipped`. With `latent_map` (fine-tuning) the given
    map is kept; otherwise one is fitted with every class counting the same.

    Raises:
        TrainingDataError: nothing in the folder can be used.
    """
    usable: list[Recording] = []
    analysed: list[npt16] = []
    skipped = []
    listed = list_recordings(folder)
    for index, recording in enumerate(listed):
        try:
            analysed.append(tokens(read_recording(recording.path)).astype(np.float16))
            usable.append(recording)
            report(f"[{index + 1}/{len(listed)}] {recording.label}: {recording.path.name}")
        except TrainingDataError as error:
            skipped.append(str(error))
            report(f"[{index + 1}/{len(listed)}] skipped: {error}")
    if not usable:
        raise TrainingDataError(f"nothing in {folder} can be used: {skipped[0]}")
    passages = split(usable, [len(t) for t in analysed])
    fitted = latent_map or _fit(analysed, usable, latent_size)
    latents = np.concatenate([fitted.encode(t.astype(np.float32)) for t in analysed])
    return Prepared(
        latents=latents,
        latent_map=fitted,
        labels=tuple(sorted({r.label for r in usable})),
        captions=tuple(r.caption for r in usable),
        passages=tuple(passages),
        skipped=tuple(skipped),
    )


npt16 = np.ndarray[tuple[int, int], np.dtype[np.float16]]


def _fit(analysed: Iterable[npt16], recordings: list[Recording], size: int) -> LatentMap:
    by_label: dict[str, list[npt16]] = defaultdict(list)
    for token, recording in zip(analysed, recordings, strict=True):
        by_label[recording.label].append(token)
    weight_total = 0.0
    first = np.zeros(TOKEN_FEATURES)
    second = np.zeros((TOKEN_FEATURES, TOKEN_FEATURES))
    for members in by_label.values():
        rows = np.concatenate(members).astype(np.float32)
        weight = len(rows) ** 0.5 / len(rows)
        first += weight * rows.sum(0, dtype=np.float64)
        second += weight * (rows.T @ rows).astype(np.float64)
        weight_total += weight * len(rows)
    mean = first / weight_total
    return fit_latent_map(mean, second / weight_total - np.outer(mean, mean), size)


def save_prepared(prepared: Prepared, path: Path) -> None:
    """Write the feature file."""
    description = {
        "labels": prepared.labels,
        "captions": prepared.captions,
        "skipped": prepared.skipped,
        "passages": [(p.recording, p.label, p.start, p.stop, p.held_out) for p in prepared.passages],
    }
    tensors = {
        "latents": prepared.latents.astype(np.float16),
        "mean": prepared.latent_map.mean,
        "forward": prepared.latent_map.forward,
        "backward": prepared.latent_map.backward,
    }
    save_file(
        {n: np.ascontiguousarray(t) for n, t in tensors.items()}, path, {"safa_prepared": json.dumps(description)}
    )


def load_prepared(path: Path) -> Prepared:
    """Read a feature file.

    Raises:
        TrainingDataError: the file is missing or not one that `prepare` wrote.
    """
    try:
        tensors = load_file(path)
        with path.open("rb") as raw:
            header = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
        description = json.loads(header["__metadata__"]["safa_prepared"])
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise TrainingDataError(f"cannot read the feature file {path}: {error}") from error
    return Prepared(
        latents=tensors["latents"].astype(np.float32),
        latent_map=LatentMap(tensors["mean"], tensors["forward"], tensors["backward"]),
        labels=tuple(description["labels"]),
        captions=tuple(description["captions"]),
        passages=tuple(Passage(*row) for row in description["passages"]),
        skipped=tuple(description["skipped"]),
    )
