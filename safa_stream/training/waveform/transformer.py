"""Train the transformer over the autoencoder's latents: v prediction (arXiv 2202.00512), as Stable Audio was trained.

z = cos(a) x + sin(a) n, v = cos(a) n - sin(a) x, with a = pi t / 2 for the timestep t in 0..1 that the network is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safa_stream.models.pretrained.base import Row
from safa_stream.models.pretrained.stable_audio import StableAudio
from safa_stream.training.trainer import TrainingConfig
from safa_stream.training.waveform.checkpoint import VIEW
from safa_stream.training.waveform.loop import Optimiser, Progress, rates
from safa_stream.training.waveform.sounds import Sounds, draw_passages

#: Share of examples that are told nothing, for classifier-free guidance.
UNTOLD = 0.1
#: Frames encoded at once, and how many on each side are encoded beside them and thrown away.
PIECE, MARGIN = 128, 8


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """Means and standard deviations [T, C] of all frames of the recordings."""

    mean: Tensor
    std: Tensor


def encode(vae: Any, sounds: Sounds, device: str) -> Latents:
    """The recordings' latents. Pieces reach over borders between recordings, as batches' convolutions do."""
    total, parts = len(sounds.frames), []
    with torch.no_grad():
        for start in range(0, total, PIECE):
            first, last = max(0, start - MARGIN), min(total, start + PIECE + MARGIN)
            samples = torch.from_numpy(sounds.frames[first:last].reshape(1, 1, -1)).to(device)
            found = vae.encode(samples).latent_dist
            kept = slice(start - first, start - first + min(PIECE, total - start))
            parts.append((found.mean[0].T[kept], found.std[0].T[kept]))
    return Latents(torch.cat([mean for mean, _ in parts]), torch.cat([std for _, std in parts]))


class Examples:
    """Batches of what the transformer learns from."""

    def __init__(self, model: StableAudio, sounds: Sounds, latents: Latents, config: TrainingConfig) -> None:
        self.sounds, self.latents, self.config = sounds, latents, config
        with torch.no_grad():
            self.told: list[Row] = [model.rows([label.replace("_", " ")])[0] for label in sounds.labels]
            self.untold = model.without([])

    def batch(self, held_out: bool, draw: np.random.Generator) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(latents [B, C, T, 1], timesteps [B], what the network is told)."""
        count = self.config.batch
        drawn = draw_passages(self.sounds, count, VIEW, held_out, draw)
        mean = torch.stack([self.latents.mean[at] for _, at in drawn])
        clean = mean + torch.stack([self.latents.std[at] for _, at in drawn]) * torch.randn_like(mean)
        # One timestep in each part of the range, so that no batch lacks a noise level.
        parts = (np.arange(count) + draw.uniform(size=count)) / count
        rows = [self.untold if draw.uniform() < UNTOLD else self.told[label] for label, _ in drawn]
        told = {name: torch.cat([row[name] for row in rows]) for name in self.untold}
        return clean.mT[..., None], torch.from_numpy(parts.astype(np.float32)).to(mean.device), told


def loss_of(model: StableAudio, clean: Tensor, timesteps: Tensor, told: dict[str, Tensor]) -> Tensor:
    """Mean squared error of v."""
    angle = (timesteps * (math.pi / 2))[:, None, None, None]
    noise = torch.randn_like(clean)
    noisy, velocity = angle.cos() * clean + angle.sin() * noise, angle.cos() * noise - angle.sin() * clean
    return ((model.predict(noisy, timesteps, told).float() - velocity) ** 2).mean()


def train_transformer(
    model: StableAudio,
    sounds: Sounds,
    latents: Latents,
    minutes: float,
    config: TrainingConfig,
    report: Callable[[str], None],
) -> dict[str, float]:
    """Train the model's transformer in place; returns steps, and the loss on held-out passages."""
    draw = np.random.default_rng(config.seed)
    examples = Examples(model, sounds, latents, config)
    network = model.transformer.train().requires_grad_(True)
    optimiser = Optimiser(network, ("transformer_blocks",), config.learning_rate)
    progress = Progress("transformer", report)
    for factor in rates(minutes, config.cooldown):
        progress.add(optimiser.descend(loss_of(model, *examples.batch(False, draw)), factor))
    progress.tell()
    optimiser.settle()
    network.eval().requires_grad_(False)
    draw = np.random.default_rng(1)
    with torch.no_grad():
        held = [float(loss_of(model, *examples.batch(True, draw))) for _ in range(8)]
    return {"steps": float(optimiser.step), "held_out": float(np.mean(held))}
