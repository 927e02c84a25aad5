"""LongCat-AudioDiT: a flow from noise to sound over waveform latents [B, 64, T, 1] of 2048 / 24000 s each, mono.

It was trained for speech of up to 30 s and speaks its prompt; what it makes of described sounds is not known here. It
counts time before frequency: latents are turned to [B, T, 64] on the way in and out. Its clock runs from 0, noise, to
1; the solver's from 1 to 0.

Before it is attended to, the text passes convolutions whose normalisation spans all tokens, those that fill it up as
well. So that the sound of a prompt does not depend on the prompts beside it, this is done once for each text at its own
length, and filled up after.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from safa_stream.errors import ModelError
from safa_stream.models.pretrained.base import MASK, Row, padded
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.waveform import WaveformModel, check_latents, decoding
from safa_stream.models.pretrained.waveform_decoder import oobleck_halo, without_encoder
from safa_stream.schedulers import FLOW
from safa_stream.solvers import SolverTable

#: Tokens of a text; every step attends to as many, so this is less than the text encoder could take.
TOKENS = 128
#: The pipeline's own defaults.
STEPS, GUIDANCE = 16, 4.0
#: Frames of a view, 10.2 s.
VIEW = 120


class TextFront(nn.Module):
    """The transformer's own layers between a text's encoding [1, L, D] and what is attended to."""

    def __init__(self, embed: nn.Module, convolve: nn.Module) -> None:
        super().__init__()
        self.embed, self.convolve = embed, convolve

    def forward(self, text: Tensor) -> Tensor:
        """[1, L, D']."""
        out: Tensor = self.convolve(self.embed(text))
        return out


class Passed(nn.Module):
    """In place of the transformer's text embedding: the text has passed it already."""

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        """The text as it is."""
        return text


def sigmas(steps: int) -> list[float]:
    """Noise levels [S], evenly spaced."""
    levels: list[float] = torch.linspace(1, 1 / steps, steps).tolist()
    return levels


class LongCat(WaveformModel):
    """A checkpoint of a LongCatAudioDiTPipeline."""

    KINDS = (Kind("transformer", "LongCatAudioDiTTransformer"), Kind("vae", "LongCatAudioDiTVae"))
    #: As the pipeline has both; diffusers 0.42 saves this pipeline without its scheduler.
    TWO_CALLS = True
    SCHEDULER = {"_class_name": FLOW, "shift": 1.0, "invert_sigmas": True}

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        super().__init__(checkpoint, computing)
        parts = checkpoint.components
        config, vae = parts["transformer"].config, parts["vae"].config
        check_latents(checkpoint, int(config["latent_dim"]), int(vae["latent_dim"]))
        if not checkpoint.scheduler.get("invert_sigmas", False):
            raise ModelError(f"{checkpoint.folder}: the scheduler must count from noise to sound (invert_sigmas)")
        transformer = parts["transformer"].load()
        convolve = transformer.text_conv_layer if transformer.text_conv else nn.Identity()
        self.front = computing.exact(TextFront(transformer.text_embed, convolve))
        transformer.text_embed, transformer.text_conv, transformer.text_conv_layer = Passed(), False, None
        self.transformer = computing.denoiser(transformer)
        self.vae = computing.exact(without_encoder(parts["vae"].load()))
        self.read_texts("UMT5EncoderModel", "AutoTokenizer", TOKENS)
        self.describe(
            decoding(self.vae),
            oobleck_halo(upsampling(vae)),
            sample_rate=int(vae["sample_rate"]),
            channels=int(vae["in_channels"]),
            samples_per_frame=int(vae["downsampling_ratio"]),
            latent_channels=int(config["latent_dim"]),
            view=VIEW,
            steps=STEPS,
            guidance=GUIDANCE,
        )

    def rows(self, texts: Sequence[str], beside: Sequence[str] = ()) -> list[Row]:
        """Each: "text" [1, L, D], filled up with zeros; "text_mask" says up to where.

        As in the pipeline only prompts are normalised, not what they are steered away from.
        """
        return [self._row(self._encoded(text if beside else normalised(text))) for text in texts]

    def without(self, beside: Sequence[str]) -> Row:
        """Zeros in place of the text encoder's output, as many as the longest of the prompts has tokens."""
        encoded = [self._encoded(normalised(text)) for text in beside or [""]]
        return self._row(torch.zeros_like(max(encoded, key=lambda text: int(text.shape[1]))))

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words past the 128th token, or that the tokenizer does not know."""
        return super().not_understood(normalised(text))

    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """The velocity of latents [N, C, T, 1], from noise to sound, at times 1 to 0."""
        turned = latents[..., 0].transpose(1, 2)
        out: Tensor = self.transformer(
            hidden_states=turned,
            encoder_hidden_states=told["text"],
            encoder_attention_mask=told["text" + MASK],
            timestep=1 - timesteps,
            latent_cond=torch.zeros_like(turned),
            return_dict=False,
        )[0]
        return out.transpose(1, 2)[..., None]

    def solver(self, steps: int) -> SolverTable:
        """Euler steps. Times of a table fall, so they count the noise, as the network does not."""
        table, trained = self.sampled(steps, sigmas), self.checkpoint.scheduler.get("num_train_timesteps", 1000)
        return replace(table, timesteps=tuple(1 - time / trained for time in table.timesteps))

    def _encoded(self, text: str) -> Tensor:
        """[1, L, D]: the text encoder's last layer and its first, each normalised."""
        with quiet():
            told = self.tokenizer(text, truncation=True, max_length=self.longest, return_tensors="pt")
        ids, mask = told.input_ids.to(self.computing.device), told.attention_mask.to(self.computing.device)
        found = self.text_encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        last, first = found.last_hidden_state, found.hidden_states[0]
        shape = (int(last.shape[-1]),)
        out: Tensor = nn.functional.layer_norm(last, shape, eps=1e-6) + nn.functional.layer_norm(first, shape, eps=1e-6)
        return out

    def _row(self, encoded: Tensor) -> Row:
        mask = torch.ones(encoded.shape[:2], dtype=torch.long, device=encoded.device)
        return padded({"text": self.front(encoded), "text" + MASK: mask}, "text", self.longest)


def normalised(text: str) -> str:
    """Lower case, without quotation marks, single spaces."""
    return re.sub(r"\s+", " ", re.sub(r'["“”‘’]', " ", text.lower())).strip()


def upsampling(vae: Mapping[str, Any]) -> list[int]:
    """The factors of the autoencoder's decoder in their order, as diffusers' class reads its configuration."""
    levels = len(vae["c_mults"] or [1, 2, 4, 8, 16])
    strides: list[int] = list(vae["strides"] or [2])
    strides += [strides[-1]] * (levels - len(strides))
    return strides[:levels][::-1]
