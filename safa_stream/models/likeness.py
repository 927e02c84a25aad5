"""How unlike two views are: their clean latents shown as a picture or a spectrum, and a distance between those.

SyncDiffusion follows this distance's gradient. Pictures are compared by a perceptual network (`perceptual`). For sounds
none is agreed on, so where no network is given two spectra are compared by what a listener keeps of a texture: how
loud each band is on average and how much it varies. What happens when does not count; views are not made copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from safa_stream.models.builtin.features import hz_to_mel
from safa_stream.models.interface import BY_NETWORK
from safa_stream.models.perceptual import Perceptual
from safa_stream.types import FloatArray

#: Of sounds, where no network is given.
STATISTICS = "log-mel statistics"
#: Logarithms of amplitude that a picture of a spectrum shows black and white.
QUIETEST, LOUDEST = -11.5, 2.0
#: Of spectra of waveforms: samples of a window and between windows, bands, and what is added to a band's power.
WINDOW, HOP, BANDS, FLOOR = 2048, 512, 64, 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """shown: clean latents [B, C, T, F] as what is compared; distance: [B] of two such. name: as results tell it.

    Both hand gradients on.
    """

    name: str
    shown: Callable[[Tensor], Tensor]
    distance: Callable[[Tensor, Tensor], Tensor]


def of_sounds(spectrum: Callable[[Tensor], Tensor], network: Path | None, device: torch.device) -> Likeness:
    """By the network's file where there is one.

    spectrum: latents [B, C, T, F] to log-mel [B, J, bands], the natural logarithm of the bands' amplitudes.
    Raises ModelError for a file of another network, see `Perceptual.read`.
    """
    if network is None:
        return Likeness(STATISTICS, spectrum, statistics_apart)
    judge = Perceptual.read(network, device)
    return Likeness(f"{BY_NETWORK}{network.name}", lambda latents: pictured(spectrum(latents)), judge.distance)


def statistics_apart(first: Tensor, second: Tensor) -> Tensor:
    """[B] for log-mel spectra [B, J, bands]: squared differences of the bands' means and spreads over time, nats²."""
    apart = (first.mean(dim=1) - second.mean(dim=1)).square() + (_spread(first) - _spread(second)).square()
    return apart.mean(dim=1)


def pictured(spectrum: Tensor) -> Tensor:
    """Log-mel [B, J, bands] as grey pictures [B, 3, bands, J] of about -1 .. 1."""
    grey = (spectrum - QUIETEST) / (LOUDEST - QUIETEST) * 2 - 1
    return grey.transpose(1, 2)[:, None].expand(-1, 3, -1, -1)


def log_mel(sound: Tensor, rate: int) -> Tensor:
    """[B, J, BANDS]: the logarithm of the bands' amplitudes of sounds [B, channels, N], channels averaged."""
    mono = sound.mean(dim=1)
    window = torch.hann_window(WINDOW, device=sound.device)
    lines = torch.stft(mono, WINDOW, HOP, window=window, return_complex=True).abs().square() / window.square().sum()
    bands = torch.from_numpy(_bands(rate)).to(sound.device)
    return (lines.transpose(1, 2) @ bands + FLOOR).log() / 2


def _bands(rate: int) -> FloatArray:
    """Triangular bands [lines, BANDS] from 0 to half the rate, straight on the mel scale."""
    mel = hz_to_mel(np.fft.rfftfreq(WINDOW, 1.0 / rate))
    edges = np.linspace(0.0, mel[-1], BANDS + 2)
    rising, falling = (mel[:, None] - edges[:-2]), (edges[2:] - mel[:, None])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) / (edges[1] - edges[0]), np.float32)


def _spread(spectrum: Tensor) -> Tensor:
    """Standard deviation over time; never of a root's infinite slope."""
    return (spectrum.var(dim=1, unbiased=False) + 1e-6).sqrt()
