"""AudioLDM (arXiv 2301.12503) and MusicLDM (arXiv 2308.01546): a U-Net that is told one CLAP embedding of the text.

Their components are used, not their pipeline classes, which diffusers no longer keeps up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from safa_stream.errors import ModelError
from safa_stream.models.interface import ModelFacts
from safa_stream.models.merging import Grid
from safa_stream.models.pretrained import mel_decoder
from safa_stream.models.pretrained.base import PretrainedModel, Row
from safa_stream.models.pretrained.checkpoint import Checkpoint, Component, Kind
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.mel_decoder import MelDecoder, SpectrogramShape
from safa_stream.models.pretrained.texts import load_text_model, load_tokenizer, not_understood

#: 10.24 s, the length that the family was trained on.
VIEW_FRAMES = 256
#: DDIM's usual number; the pipelines of diffusers take from 10 (AudioLDM) to 200 (the others).
STEPS = 50


class SpectrogramModel(PretrainedModel):
    """What the AudioLDM family shares: sizes, facts and decoder. Latents are [B, 8, T, 16], 25 frames a second."""

    GUIDANCE: ClassVar[float]

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        super().__init__(checkpoint, computing)
        self.shape = shape = SpectrogramShape.of(checkpoint)
        self.sounding = mel_decoder.mel_decoder(checkpoint, shape, computing)
        self.facts = ModelFacts(
            name=checkpoint.name,
            version=checkpoint.version,
            sample_rate=shape.sample_rate,
            channels=1,
            samples_per_frame=self.sounding.samples_per_frame,
            view_frames=VIEW_FRAMES,
            frame_alignment=shape.multiple,
            latent_channels=shape.channels,
            latent_bins=shape.bins,
            default_steps=STEPS,
            default_guidance=self.GUIDANCE,
            default_overlap=0.2,
            decoder_halo=self.sounding.halo,
            takes_context=False,
            sounds=(),
            licence=checkpoint.licence,
        )
        self.unet = computing.denoiser(checkpoint.components["unet"].load())

    def decoder(self) -> MelDecoder:
        """Latents to sound of one channel."""
        return self.sounding

    def grid(self, tokens: int, frames: int) -> Grid:
        """Layers see the latents, frame by frame, halved zero or more times in both directions."""
        scale = math.isqrt(frames * self.shape.bins // tokens)
        return Grid(scale, bins=self.shape.bins // scale)

    def spectrum(self, latents: Tensor) -> Tensor:
        """What the autoencoder's decoder makes of them, as one window."""
        return self.sounding.spectrogram(latents)


class AudioLDM(SpectrogramModel):
    """AudioLDM. MusicLDM's text encoder is the same network, stored together with the one for sounds."""

    KINDS = (Kind("unet", "UNet2DConditionModel"), *mel_decoder.KINDS)
    TEXTS = ("text_encoder", "tokenizer")
    GUIDANCE = 2.5

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        size = embedding_size(checkpoint.components["unet"])
        self.tokenizer = load_tokenizer(checkpoint.folder / "tokenizer", "RobertaTokenizer")
        text_encoder = load_text_model(checkpoint.folder / "text_encoder", "ClapTextModelWithProjection")
        if text_encoder.config.projection_dim != size:
            raise ModelError(
                f"{checkpoint.folder}: text_encoder and unet do not fit each other: embeddings of "
                f"{text_encoder.config.projection_dim} and {size}"
            )
        self.text_encoder = computing.exact(text_encoder)
        # RoBERTa leaves two of its places free.
        self.longest = min(self.tokenizer.model_max_length, text_encoder.config.max_position_embeddings - 2)
        super().__init__(checkpoint, computing)

    def rows(self, texts: Sequence[str], beside: Sequence[str] = ()) -> list[Row]:
        """CLAP's embeddings of unit length: "labels" [1, D]."""
        told = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.computing.device)
        found = self.text_encoder(told.input_ids, attention_mask=told.attention_mask).text_embeds
        labels: Tensor = torch.nn.functional.normalize(found, dim=-1)
        return [{"labels": row[None]} for row in labels]

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words past the tokenizer's length."""
        return not_understood(self.tokenizer, text, self.longest)

    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """One call of the U-Net."""
        out: Tensor = self.unet(
            latents, timesteps, encoder_hidden_states=None, class_labels=told["labels"], return_dict=False
        )[0]
        return out


class MusicLDM(AudioLDM):
    """MusicLDM."""

    GUIDANCE = 2.0


def embedding_size(unet: Component) -> int:
    """Values in a class embedding. Raises ModelError where the U-Net takes none."""
    if unet.config["class_embed_type"] not in ("simple_projection", "projection"):
        raise ModelError(
            f"{unet.folder}: AudioLDM and MusicLDM are told a class embedding, but class_embed_type is "
            f"{unet.config['class_embed_type']!r}"
        )
    return int(unet.config["projection_class_embeddings_input_dim"])
