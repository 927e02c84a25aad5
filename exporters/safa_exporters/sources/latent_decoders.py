"""From latents to sound: the decoders of autoencoders and the vocoder, as modules whose `forward` is one tensor to one.

Their inputs are latents as the denoiser leaves them: scaling, bottlenecks and unpatching are inside. Encoders are left
out, and weight normalisation is folded into the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils import remove_weight_norm

from safa_exporters.graph import Axis, Graph
from safa_exporters.sources.sampling import normal
from safa_stream.models.pretrained.checkpoint import Component
from safa_stream.types import FloatArray

BATCH = Axis("batch", least=1, most=32)


class MelDecoder(nn.Module):
    """AutoencoderKL's decoder: latents [B, C, T, F] to log-mel spectrograms [B, 4T, 4F] (4 with three levels)."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.post, self.decoder = vae.post_quant_conv, vae.decoder
        self.scale = 1.0 / float(vae.config.scaling_factor)

    def forward(self, latents: Tensor) -> Tensor:
        """Log-mel spectrograms, time before frequency."""
        latents = latents * self.scale
        out: Tensor = self.decoder(latents if self.post is None else self.post(latents))
        return out.squeeze(1)


class Vocoder(nn.Module):
    """SpeechT5HifiGan: log-mel spectrograms [B, T, mels] to sound [B, 1, N], N about T times the upsampling rates."""

    def __init__(self, vocoder: Any) -> None:
        super().__init__()
        self.vocoder = vocoder

    def forward(self, mel: Tensor) -> Tensor:
        """Sound of one channel."""
        out: Tensor = self.vocoder(mel)
        return out.unsqueeze(1)


class OobleckDecoder(nn.Module):
    """AutoencoderOobleck's decoder: latents [B, C, T] to sound [B, channels, T x hop]."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.decoder = folded(vae.decoder)

    def forward(self, latents: Tensor) -> Tensor:
        """Sound at the autoencoder's sampling rate."""
        out: Tensor = self.decoder(latents)
        return out


class SameDecoder(nn.Module):
    """AutoencoderSAME's decoder: latents [B, C, T] to sound [B, channels, T x patch x strides].

    Its band mask is T^2 in memory, so long sounds are for the caller to split.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.bottleneck, self.decoder, self.patches = vae.bottleneck, folded(vae.decoder), vae.patch_embed

    def forward(self, latents: Tensor) -> Tensor:
        """Sound at the autoencoder's sampling rate."""
        out: Tensor = self.patches.decode(self.decoder(self.bottleneck.decode(latents)))
        return out


def decoder_graph(
    vae: Component, module: Callable[[Any], nn.Module], shape: tuple[int, ...], output: str, most: int
) -> Graph:
    """The graph of an autoencoder's decoder. shape: of the example's latents, time at 2; most: the longest time."""
    return Graph(
        name="decoder",
        module=lambda: module(vae.load()).eval(),
        inputs={"latents": normal(np.random.default_rng(0), *shape)},
        output=output,
        axes={"latents": {0: BATCH, 2: Axis("time", least=2, most=most)}},
    )


def vocoder_graph(vocoder: Component, frames: int, most: int) -> Graph:
    """The graph of a vocoder; its time is spectrogram frames."""
    # A log-mel spectrogram of quiet sound: natural logarithms around -5.
    mel: FloatArray = 2 * normal(np.random.default_rng(0), 2, frames, int(vocoder.config["model_in_dim"])) - 5
    return Graph(
        name="vocoder",
        module=lambda: Vocoder(vocoder.load()).eval(),
        inputs={"mel": mel},
        output="sound",
        axes={"mel": {0: BATCH, 1: Axis("time", least=2, most=most)}},
    )


def folded(module: nn.Module) -> nn.Module:
    """The module with torch's weight normalisation folded into its weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for layer in module.modules():
            if hasattr(layer, "weight_g"):
                remove_weight_norm(layer)
    return module.requires_grad_(False)
