"""Waveform latents [1, C, T, 1] to sound by an autoencoder: new frames only, with the context that they hear.

    latents   ... halo | decoded now | halo ...        the network sees all three, the middle's sound is kept

The halo is the network's reach, worked out from its strides and layers: what lies farther away is not heard at all. So
decoded in pieces a sound equals the sound decoded whole, up to rounding (`TOLERANCE`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safa_stream.errors import ModelError
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.windows import WindowDecoder

#: Frames decoded at once: 128 channels of 128 x 2048 samples are 134 MB, and several such are held at a time.
PIECE = 128
#: How far pieces may lie from the whole, in parts of the loudest sample. Convolutions stay within a hundredth of it,
#: SAME within a fiftieth over 10 s; its attention turns positions into angles, the coarser the farther from the start.
TOLERANCE = 1e-4
#: Oobleck's convolutions: half a kernel of the first and the last, and of a block's three dilated ones together.
HALF_KERNEL, RESIDUAL = 3, 3 * (1 + 3 + 9)


@dataclass(frozen=True, slots=True)
class WaveformSound:
    """network: latents [1, C, T] to sound [1, channels, T * samples_per_frame] of which a frame hears `halo` others."""

    network: Callable[[Tensor], Tensor]
    halo: int
    samples_per_frame: int

    def __call__(self, latents: Tensor, before: int, after: int) -> Tensor:
        """Sound [channels, N] of latents [1, C, T, 1] but the first `before` and the last `after` frames."""
        frames, scale = int(latents.shape[2]), self.samples_per_frame
        pieces = []
        for start in range(before, frames - after, PIECE):
            stop = min(start + PIECE, frames - after)
            first, last = max(0, start - self.halo), min(frames, stop + self.halo)
            sound = self.network(latents[:, :, first:last, 0])[0]
            pieces.append(sound[:, (start - first) * scale : (stop - first) * scale])
        return torch.cat(pieces, dim=1)


def waveform_decoder(
    network: Callable[[Tensor], Tensor], halo: int, samples_per_frame: int, computing: Computing
) -> WindowDecoder:
    """The decoder of models over waveform latents."""
    sound = WaveformSound(network, halo, samples_per_frame)
    return WindowDecoder(sound, halo, samples_per_frame, computing)


def without_encoder(vae: Any) -> Any:
    """An autoencoder that only decodes: half of the memory."""
    del vae.encoder
    return vae


def oobleck_halo(strides: Sequence[int]) -> int:
    """How many frames on each side Oobleck's decoder hears, and LongCat's; `strides` in the order of upsampling.

    Raises ModelError for an odd stride, with which frames would not be of one length.
    """
    if any(stride % 2 for stride in strides):
        raise ModelError(f"the autoencoder upsamples by {list(strides)}; only even factors give frames of one length")
    # Back from the samples of frame 0 through the layers: which samples, and at last which frames, do they come from?
    low, high = -HALF_KERNEL, math.prod(strides) - 1 + HALF_KERNEL
    for stride in reversed(strides):
        low, high = low - RESIDUAL, high + RESIDUAL
        # Transposed convolution, kernel 2s, padding s/2: sample o comes from (o - 3s/2 + 1) / s up to (o + s/2) / s.
        low, high = -((3 * stride // 2 - 1 - low) // stride), (high + stride // 2) // stride
    return max(-low, high) + HALF_KERNEL


def same_halo(strides: Sequence[int], depths: Sequence[int], window: int) -> int:
    """How many frames on each side SAME's decoder hears: every layer attends to `window` segments on both sides.

    strides, depths: of the blocks in the order of decoding.
    """
    low, high = 0, math.prod(strides) - 1
    for stride, depth in zip(reversed(strides), reversed(depths), strict=True):
        low, high = low // stride - depth * window, high // stride + depth * window
    return max(-low, high)
