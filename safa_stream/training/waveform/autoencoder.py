"""Train the autoencoder (Oobleck, arXiv 2407.14358): spectra on several scales, samples, and a KL term; no adversary.

Without an adversary noise comes out coarser than it went in. What is learned are latents of a waveform all the same:
frames that only decode together with their neighbours, and whose phases count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from safa_stream.training.trainer import TrainingConfig
from safa_stream.training.waveform.loop import Optimiser, Progress, rates
from safa_stream.training.waveform.sounds import Sounds, draw_passages

#: Windows of the spectral distance, a quarter of each apart.
WINDOWS = (64, 256, 1024)
#: Weights of the samples' error and of the divergence from a standard normal distribution, nats a frame.
SAMPLES, DIVERGENCE = 10.0, 1e-3
#: Latent frames of a passage and passages of a step: half a second each.
FRAMES, BATCH = 8, 4


def spectral_distance(made: Tensor, real: Tensor) -> Tensor:
    """Mean over WINDOWS of |difference of log magnitudes| and relative error of magnitudes, of samples [B, N]."""
    total = made.new_zeros(())
    for size in WINDOWS:
        window = torch.hann_window(size, device=made.device)
        one, two = (
            torch.stft(x, size, size // 4, window=window, return_complex=True).abs() / size**0.5 for x in (made, real)
        )
        logs = (torch.log(one + 1e-3) - torch.log(two + 1e-3)).abs().mean()
        total = total + logs + torch.linalg.vector_norm(one - two) / (torch.linalg.vector_norm(two) + 1e-3)
    return total / len(WINDOWS)


def loss_of(vae: Any, real: Tensor) -> Tensor:
    """Samples [B, 1, N] through the autoencoder and back."""
    latent = vae.encode(real).latent_dist
    made = vae.decode(latent.sample()).sample[..., : real.shape[-1]]
    spectra = spectral_distance(made[:, 0], real[:, 0])
    loss: Tensor = spectra + SAMPLES * F.l1_loss(made, real) + DIVERGENCE * latent.kl()
    return loss


def batch_of(sounds: Sounds, held_out: bool, draw: np.random.Generator, device: str) -> Tensor:
    """Passages [BATCH, 1, N] with gains of up to 6 dB either way."""
    stretches = [sounds.frames[at].reshape(-1) for _, at in draw_passages(sounds, BATCH, FRAMES, held_out, draw)]
    gains = 2.0 ** draw.uniform(-1, 1, (BATCH, 1)).astype(np.float32)
    return torch.from_numpy(np.stack(stretches) * gains)[:, None].to(device)


def train_autoencoder(
    vae: Any, sounds: Sounds, minutes: float, config: TrainingConfig, report: Callable[[str], None]
) -> dict[str, float]:
    """Train in place; returns steps, and the loss on held-out passages."""
    draw = np.random.default_rng(config.seed)
    vae.to(config.device).train().requires_grad_(True)
    # So small a step is over before Muon would have made its matrices orthogonal.
    optimiser = Optimiser(vae, (), config.learning_rate)
    progress = Progress("autoencoder", report)
    for factor in rates(minutes, config.cooldown):
        progress.add(optimiser.descend(loss_of(vae, batch_of(sounds, False, draw, config.device)), factor))
    progress.tell()
    optimiser.settle()
    vae.eval().requires_grad_(False)
    draw = np.random.default_rng(1)
    with torch.no_grad():
        held = [float(loss_of(vae, batch_of(sounds, True, draw, config.device))) for _ in range(16)]
    return {"steps": float(optimiser.step), "held_out": float(np.mean(held))}
