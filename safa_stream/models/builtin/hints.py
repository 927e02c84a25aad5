"""Hints for the decoder: what is tonal, where in its band, what is left as noise, how uneven that is inside a frame.

A small convolutional network over tokens and bands gives them, in torch; training/vocoder.py trains it.
Shapes: M rows, T tokens, D features a token, J = 4 T mel frames, B = 96 bands.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from safa_stream.models.builtin.features import BANDS, FOLD, SIDE_BANDS

#: What the network says of each frame and band.
OUTPUTS = ("share", "place", "left", "pulse")
#: Its convolutions: kernel (tokens, bands), channels, and the dilation over tokens of each layer.
KERNEL = (3, 5)
WIDTH = 32
DILATIONS = (1, 1, 3)


class Hints(NamedTuple):
    """Per mel frame and band [M, J, B].

    share: tonal part of the energy, 0..1; offset: of the partial from the band's centre, -0.6..0.6 bands; noise: what
    turns the log-power into that of all but the partial, nats; pulse: unevenness inside the frame beyond noise's, nats.
    """

    share: Tensor
    offset: Tensor
    noise: Tensor
    pulse: Tensor


class HintNetwork(nn.Module):
    """Convolutions over tokens and bands."""

    height: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = [FOLD + 3] + [WIDTH] * len(DILATIONS)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, KERNEL, padding=(d * (KERNEL[0] // 2), KERNEL[1] // 2), dilation=(d, 1))
            for a, b, d in zip(sizes, sizes[1:], DILATIONS, strict=False)
        )
        self.head = nn.Conv2d(WIDTH, len(OUTPUTS) * FOLD, 1)
        self.bands = nn.Parameter(torch.zeros(WIDTH, 1, BANDS))
        self.last = nn.Parameter(torch.zeros(len(OUTPUTS) * FOLD, 1, BANDS))
        self.register_buffer("height", torch.linspace(-1, 1, BANDS), persistent=False)

    def forward(self, token: Tensor) -> Tensor:
        """[M, T, D] to [M, 4, FOLD, T, B]: raw share, place, left, pulse."""
        first, *others = self.layers
        hidden = functional.relu(first(self.image(token)) + self.bands)
        for layer in others:
            hidden = hidden + functional.relu(layer(hidden))
        out: Tensor = self.head(hidden) + self.last
        return out.reshape(len(out), len(OUTPUTS), FOLD, *out.shape[2:])

    def image(self, token: Tensor) -> Tensor:
        """Tokens as an image [M, 7, T, B]: four frames of log-mel less their level, the side's ratio, level, band."""
        mel = token[..., : FOLD * BANDS].reshape(*token.shape[:2], FOLD, BANDS)
        level = mel.mean((2, 3), keepdim=True)
        side = in_bands(token[..., FOLD * BANDS :])[:, :, None]
        told = [(mel - level) / 2, side / 3, ((level + 10) / 4).expand_as(side), self.height.expand_as(side)]
        return torch.cat(told, dim=2).transpose(1, 2)


def in_bands(side: Tensor) -> Tensor:
    """The side's coarse ratios [..., 32] in bands [..., B]."""
    return side[..., None].expand(*side.shape, BANDS // SIDE_BANDS).flatten(-2)


def hints(raw: Tensor) -> Hints:
    """What the network's output [M, 4, FOLD, T, B] means."""
    share, place, left, pulse = raw.transpose(2, 3).flatten(2, 3).unbind(1)
    return Hints(share.clamp(0.0, 1.0), 0.6 * torch.tanh(place), left.clamp(-5.0, 2.0), pulse)
