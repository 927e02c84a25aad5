"""Connectivity inheritance of an autoencoder alone: how far one linear map leads from its latents to what went in.

Pictures: their colours, averaged over the square of pixels that a latent stands for (AutoencoderKL). Sound: the
log-mel, averaged over a latent frame (AutoencoderOobleck). The map is the same at every place; examples that were not
fitted on give the error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from PIL import Image, UnidentifiedImageError

from safa_stream.corpus.recordings import list_recordings, read_recording
from safa_stream.errors import ModelError, TrainingDataError, UsageError
from safa_stream.evaluation import aliasing
from safa_stream.evaluation.bench import machine
from safa_stream.evaluation.paper.connectivity import HELD_OUT, Fitted, by_frame, by_place, change_kept
from safa_stream.evaluation.tables import Report, quiet
from safa_stream.models.builtin.features import SAMPLE_RATE, hz_to_mel, mel_to_hz
from safa_stream.models.pretrained.checkpoint import CONFIG_NAME, INDEX_NAME, Kind, read_component
from safa_stream.models.pretrained.weights import read_json
from safa_stream.types import DoubleArray, FloatArray

#: Pixels of a side that is encoded at most; seconds of a recording.
SIDE, SECONDS = 512, 20.0
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
#: Latents [C, T, F] as rows, and as many rows of what went in.
Pair = tuple[DoubleArray, DoubleArray]


@dataclass(frozen=True, slots=True)
class InheritanceReport:
    """Held-out relative errors, together and by column of what went in (colours, or mel bands).

    change_kept: of the change from place to place (along the width, or in time) that predictions keep.
    """

    name: str
    kind: str
    columns: str
    error: float
    by_column: DoubleArray
    change_kept: float
    examples: int
    held_out: int
    channels: int
    machine: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "autoencoder": self.name,
            "class": self.kind,
            "channelwise_error": self.error,
            f"error_by_{self.columns}": self.by_column.tolist(),
            "change_kept": self.change_kept,
            "examples": self.examples,
            "held_out": self.held_out,
            "channels": self.channels,
            "machine": self.machine,
            "took_s": self.seconds,
        }


def measure(folder: Path, examples: Path, say: Report = quiet) -> InheritanceReport:
    """Fit on three of four pictures or recordings of a folder, and tell the error on the others.

    folder: of an autoencoder, or of a pipeline in diffusers' layout, whose `vae` it then is.

    Raises:
        ModelError: no autoencoder of a class that is known here.
        UsageError: fewer than two examples.
        TrainingDataError: no recordings in the folder.
    """
    begun = time.perf_counter()
    folder = (folder / "vae" if (folder / INDEX_NAME).exists() else folder).resolve()
    if not folder.is_dir():
        raise ModelError(f"no such folder of an autoencoder: {folder}")
    named = read_json(folder / CONFIG_NAME, "the configuration of an autoencoder").get("_class_name")
    if named not in PAIRS:
        raise ModelError(f"{folder} is of a {named}; connectivity is measured of {' and '.join(PAIRS)}")
    vae = read_component(folder.parent, Kind(folder.name, named)).load()
    pairs_of, columns = PAIRS[named]
    pairs = []
    with torch.no_grad():
        for pair in pairs_of(vae, examples, say):
            pairs.append(pair)
    if len(pairs) < 2:
        raise UsageError(f"{examples} holds {len(pairs)} examples that can be used; the fit and its test need two")
    every = min(HELD_OUT, len(pairs))
    held = np.arange(len(pairs)) % every == every - 1
    found = Fitted.of(pairs, held)
    return InheritanceReport(
        f"{folder.parent.name}/{folder.name}",
        named,
        columns,
        found.error(),
        found.errors(),
        change_kept(found.truth, found.predicted),
        len(pairs),
        int(held.sum()),
        pairs[0][0].shape[1],
        machine(),
        time.perf_counter() - begun,
    )


def picture_pairs(vae: Any, folder: Path, say: Report) -> Iterator[Pair]:
    """(latents, mean colours) of every picture, places along a row next to each other."""
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        try:
            picture = Image.open(path).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            say(f"left out: {path}: {error}")
            continue
        width, height = (min(side, SIDE) // scale * scale for side in picture.size)
        if not (width and height):
            continue
        left, top = ((whole - part) // 2 for whole, part in zip(picture.size, (width, height), strict=True))
        pixels = np.asarray(picture.crop((left, top, left + width, top + height)), np.float32) / 127.5 - 1.0
        given = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        latents = vae.encode(given).latent_dist.mean[0].numpy()
        squares = pixels.reshape(height // scale, scale, width // scale, scale, 3).mean((1, 3))
        yield by_place(latents), squares.reshape(-1, 3).astype(np.float64)
        say(f"{path.name}: {width} x {height}")


def sound_pairs(vae: Any, folder: Path, say: Report) -> Iterator[Pair]:
    """(latents, mean log-mel) of every recording's beginning, by frame."""
    rate, frame = int(vae.config.sampling_rate), int(vae.hop_length)
    for recording in list_recordings(folder):
        try:
            samples = read_recording(recording.path)[:, : round(SECONDS * SAMPLE_RATE)]
        except TrainingDataError as error:
            say(f"left out: {error}")
            continue
        own = np.asarray(soxr.resample(samples.T, SAMPLE_RATE, rate), np.float32).T
        own = own[:, : own.shape[1] // frame * frame]
        given = own if vae.config.audio_channels == 2 else own.mean(0, keepdims=True)
        latents = vae.encode(torch.from_numpy(np.ascontiguousarray(given))[None]).latent_dist.mean[0].numpy()
        yield by_frame(latents[..., None]), framed(log_mel_of(own, rate), latents.shape[1])
        say(f"{recording.path.name}: {latents.shape[1]} frames")


def log_mel_of(samples: FloatArray, rate: int) -> DoubleArray:
    """Log-mel [N / 160, bands] of [channels, N'] at `rate`: columns every 10 ms, bands under the highest frequency."""
    mono, margin = aliasing.at_paper_rate(samples, rate), (aliasing.SIZE - aliasing.HOP) // 2
    centres = mel_to_hz(np.linspace(0.0, hz_to_mel(aliasing.HIGH_HZ), aliasing.BANDS + 2))[1:-1]
    return aliasing.log_mel(np.pad(mono, margin, mode="reflect"))[:, centres < 0.45 * rate]


def framed(mel: DoubleArray, frames: int) -> DoubleArray:
    """A log-mel [k, B] as its means over `frames` stretches of time that are as equal as whole columns allow."""
    return np.stack([part.mean(0) for part in np.array_split(mel, frames)])


#: By the autoencoder's class: what makes its pairs, and what the columns are called.
PAIRS: dict[str, tuple[Callable[[Any, Path, Report], Iterator[Pair]], str]] = {
    "AutoencoderKL": (picture_pairs, "colour"),
    "AutoencoderOobleck": (sound_pairs, "band"),
}
