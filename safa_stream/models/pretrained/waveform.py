"""What models over waveform latents [B, C, T, 1] share: one text encoder, sizes, and a decoder that works in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from safa_stream.errors import ModelError
from safa_stream.models.interface import ModelFacts
from safa_stream.models.likeness import log_mel
from safa_stream.models.merging import Grid
from safa_stream.models.pretrained.base import PretrainedModel
from safa_stream.models.pretrained.checkpoint import Checkpoint
from safa_stream.models.pretrained.texts import load_text_model, load_tokenizer, not_understood
from safa_stream.models.pretrained.waveform_decoder import waveform_decoder
from safa_stream.models.pretrained.windows import WindowDecoder

#: Latents [1, C, T] to sound [1, channels, T * samples_per_frame].
Network = Callable[[Tensor], Tensor]


class WaveformModel(PretrainedModel):
    """A family calls `read_texts` and `describe` while it is made."""

    TEXTS = ("text_encoder", "tokenizer")

    text_encoder: Any
    tokenizer: Any
    longest: int
    network: Network
    halo: int

    def read_texts(self, encoder: str, tokenizer: str, tokens: int | None = None) -> None:
        """Load text encoder and tokenizer by their classes. tokens: that a text may have at most."""
        folder = self.checkpoint.folder
        self.text_encoder = self.computing.exact(load_text_model(folder / "text_encoder", encoder))
        self.tokenizer = load_tokenizer(folder / "tokenizer", tokenizer)
        if tokens is not None:
            self.longest = min(int(self.tokenizer.model_max_length), tokens)

    def describe(
        self,
        network: Network,
        halo: int,
        *,
        sample_rate: int,
        channels: int,
        samples_per_frame: int,
        latent_channels: int,
        view: int,
        steps: int,
        guidance: float,
        alignment: int = 1,
        takes_context: bool = False,
    ) -> None:
        """Say what the model fixes. network: its decoder, of which a frame hears `halo` others on each side."""
        self.network, self.halo = network, halo
        self.facts = ModelFacts(
            name=self.checkpoint.name,
            version=self.checkpoint.version,
            sample_rate=sample_rate,
            channels=channels,
            samples_per_frame=samples_per_frame,
            view_frames=view,
            frame_alignment=alignment,
            latent_channels=latent_channels,
            latent_bins=1,
            default_steps=steps,
            default_guidance=guidance,
            default_overlap=0.2,
            decoder_halo=halo,
            takes_context=takes_context,
            sounds=(),
            licence=self.checkpoint.licence,
        )

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words past the tokens that a text may have, or that the tokenizer does not know."""
        return not_understood(self.tokenizer, text, self.longest)

    def grid(self, tokens: int, frames: int) -> Grid:
        """One token a step of the alignment; what there are more stand before them (durations, a memory)."""
        step = self.facts.frame_alignment
        return Grid(step, before=tokens - frames // step)

    def spectrum(self, latents: Tensor) -> Tensor:
        """The log-mel of their sound."""
        return log_mel(self.network(latents[..., 0]), self.facts.sample_rate)

    def decoder(self) -> WindowDecoder:
        """The autoencoder's decoder, in pieces."""
        return waveform_decoder(self.network, self.halo, self.facts.samples_per_frame, self.computing)


def decoding(vae: Any) -> Network:
    """The decoder of an autoencoder that has more to it than a module called so."""

    def sound(latents: Tensor) -> Tensor:
        out: Tensor = vae.decode(latents).sample
        return out

    return sound


def check_latents(checkpoint: Checkpoint, denoised: int, decoded: int) -> None:
    """Raise ModelError unless the denoiser makes as many latent channels as the autoencoder decodes."""
    if denoised != decoded:
        raise ModelError(
            f"{checkpoint.folder}: transformer and vae do not fit each other: {denoised} and {decoded} latent channels"
        )
