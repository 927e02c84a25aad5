"""Train the decoder's hints: a small convolutional network from tokens to what is tonal, noise or a pulse.

Recordings give the truth (partials.py), their tokens sent through the latents give the input, plain regression does the
rest. A few minutes on one core are enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from safa_stream.corpus.recordings import Recording, read_recording
from safa_stream.corpus.split import split
from safa_stream.errors import TrainingDataError
from safa_stream.models.builtin.features import (
    BANDS,
    FOLD,
    SAMPLES_PER_TOKEN,
    Array,
    LatentMap,
    mid_side,
    tokens,
)
from safa_stream.models.builtin.hints import OUTPUTS, HintNetwork, hints
from safa_stream.training.partials import examine

#: Tokens of one recording that are learned from, taken in equal pieces spread over it.
TOKENS_OF_ONE = 2250
PIECE = 250
BATCH, WINDOW = 8, 32
RATE = 3e-3
#: Weight of each output's error: share, place, left, pulse.
WEIGHTS = (4.0, 8.0, 0.5, 0.3)
#: Standard deviation of what the latents leave out of a band's log-power (nats), where it cannot be measured.
DETAIL = 0.5
#: The noise's detail is measured on so many pieces, where the tonal share is below this.
DETAIL_WINDOWS = 60
QUIETLY_TONAL = 0.3


@dataclass(frozen=True, slots=True)
class Lesson:
    """A piece of a recording: decoded tokens [T, D] as input, truth [T, 4, FOLD, B], both half precision; its sound."""

    token: Array
    truth: Array
    label: str


def lessons(
    recordings: Sequence[Recording], latent_map: LatentMap, report: Callable[[str], None] = lambda line: None
) -> list[Lesson]:
    """The training side of `recordings`, examined."""
    usable, sounds = [], []
    for recording in recordings:
        try:
            length = read_recording(recording.path).shape[1] // SAMPLES_PER_TOKEN
        except TrainingDataError as error:
            report(f"skipped: {error}")
            continue
        usable.append(recording)
        sounds.append(length)
    offsets = np.concatenate([[0], np.cumsum(sounds)]).astype(int)
    out = []
    for passage in split(usable, sounds):
        if passage.held_out:
            continue
        recording, first = usable[passage.recording], int(offsets[passage.recording])
        stereo = read_recording(recording.path)
        length = passage.stop - passage.start
        pieces = max(1, min(length, TOKENS_OF_ONE) // PIECE)
        for start in np.linspace(0, max(0, length - PIECE), pieces).astype(int):
            begin = passage.start - first + int(start)
            stop = min(begin + PIECE, passage.stop - first)
            out.append(
                examined(stereo[:, begin * SAMPLES_PER_TOKEN : stop * SAMPLES_PER_TOKEN], latent_map, recording.label)
            )
        report(f"{recording.label}: {recording.path.name}")
    return out


def examined(stereo: Array, latent_map: LatentMap, label: str) -> Lesson:
    """One lesson from samples [2, N]."""
    token = tokens(stereo)
    count = len(token)
    mel = token[:, : FOLD * BANDS].reshape(-1, BANDS)
    truth = examine(mid_side(stereo)[0][: count * SAMPLES_PER_TOKEN], mel)
    through = latent_map.decode(latent_map.encode(token))
    left = truth.left + mel - through[:, : FOLD * BANDS].reshape(-1, BANDS)
    stacked = np.stack([truth.share, truth.place, left, truth.pulse]).reshape(4, count, FOLD, BANDS)
    return Lesson(through.astype(np.float16), np.moveaxis(stacked, 0, 1).astype(np.float16), label)


def train_decoder(
    recordings: Sequence[Recording],
    latent_map: LatentMap,
    minutes: float,
    report: Callable[[str], None] = lambda line: None,
    prepared: list[Lesson] | None = None,
    begin: dict[str, Array] | None = None,
) -> dict[str, Array]:
    """Learn the hints for `minutes`; returns the decoder's tensors in half precision.

    prepared: lessons examined before (else they are made from `recordings`); begin: tensors to go on from.
    """
    learned = prepared if prepared is not None else lessons(recordings, latent_map, report)
    if not learned:
        raise TrainingDataError("no recording is left to train the decoder on")
    torch.manual_seed(1)
    network = HintNetwork()
    if begin is not None:
        known = {k: torch.from_numpy(v.astype(np.float32)) for k, v in begin.items() if k != "detail"}
        network.load_state_dict(known)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    generator = np.random.default_rng(1 if begin is None else int(time.time()))
    labels = sorted({lesson.label for lesson in learned})
    by_label = [[lesson for lesson in learned if lesson.label == label] for label in labels]
    began, step, losses = time.monotonic(), 0, np.zeros(4)
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50, 2 * (1 - share) + 0.01)
        drawn, truths = zip(*(draw(by_label, generator) for _ in range(BATCH)), strict=True)
        errors = loss(network(torch.from_numpy(np.stack(drawn))), torch.from_numpy(np.stack(truths)))
        optimiser.zero_grad()
        torch.autograd.backward((errors * torch.tensor(WEIGHTS)).sum())
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        losses += errors.detach().numpy()
        if step % 100 == 0:
            report(f"step {step}: " + ", ".join(f"{n} {v:.4f}" for n, v in zip(OUTPUTS, losses / 100, strict=True)))
            losses[:] = 0
    found = {k: v.detach().numpy() for k, v in network.state_dict().items()}
    found["detail"] = detail(network, by_label, generator)
    return {k: v.astype(np.float16) for k, v in found.items()}


def detail(network: HintNetwork, by_label: list[list[Lesson]], generator: np.random.Generator) -> Array:
    """Standard deviation [B] of what neither the latents nor the network tell of the noise's log-power, nats."""
    power, count = np.zeros(BANDS), np.zeros(BANDS)
    for _ in range(DETAIL_WINDOWS):
        group = by_label[generator.integers(len(by_label))]
        lesson = group[generator.integers(len(group))]
        truth = lesson.truth.astype(np.float32)
        with torch.inference_mode():
            told = hints(network(torch.from_numpy(lesson.token.astype(np.float32))[None])).noise[0].numpy()
        steady = truth[:, 0].reshape(-1, BANDS) < QUIETLY_TONAL
        power += (((truth[:, 2].reshape(-1, BANDS) - told) ** 2) * steady).sum(0)
        count += steady.sum(0)
    # A band that is tonal wherever one looks says nothing of noise.
    return np.where(count > 0, np.sqrt(power / np.maximum(count, 1)), DETAIL).astype(np.float32)


def draw(by_label: list[list[Lesson]], generator: np.random.Generator) -> tuple[Array, Array]:
    """A window of one lesson, every sound as often: tokens [T, D] and truth [4, FOLD, T, B]."""
    group = by_label[generator.integers(len(by_label))]
    lesson = group[generator.integers(len(group))]
    start = int(generator.integers(max(1, len(lesson.token) - WINDOW + 1)))
    token = lesson.token[start : start + WINDOW].astype(np.float32)
    truth = lesson.truth[start : start + WINDOW].astype(np.float32)
    if len(token) < WINDOW:
        missing = WINDOW - len(token)
        token = np.pad(token, ((0, missing), (0, 0)), mode="edge")
        truth = np.pad(truth, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
    token[:, : FOLD * BANDS] += np.float32(generator.normal(0, 1.0))
    return token, np.ascontiguousarray(np.moveaxis(truth, 0, 2))


def loss(out: Tensor, truth: Tensor) -> Tensor:
    """Mean errors [4] of [N, 4, FOLD, T, B]: squares, the place's counted where there is a partial."""
    share, place, left, pulse = out.unbind(1)
    told = truth[:, 0].clamp(0, 1)
    return torch.stack(
        [
            (share - truth[:, 0]).square().mean(),
            (0.6 * torch.tanh(place) - truth[:, 1].clamp(-0.6, 0.6)).abs().mul(told).mean(),
            functional.smooth_l1_loss(left, truth[:, 2]),
            functional.smooth_l1_loss(pulse, truth[:, 3].clamp(-0.5, 2.5)),
        ]
    )
