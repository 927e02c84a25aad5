"""Stable Diffusion 1 and 2 (arXiv 2112.10752): a U-Net that attends to the states of one CLIP text encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from safa_stream.models.images.base import PretrainedImages
from safa_stream.models.images.texts import TextEncoder
from safa_stream.models.merging import Grid
from safa_stream.models.pretrained.base import Row
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing
from safa_stream.schedulers import deterministic


class StableDiffusion(PretrainedImages):
    """Pipelines of the class StableDiffusionPipeline, predicting noise or velocity."""

    KINDS = (Kind("unet", "UNet2DConditionModel"), Kind("vae", "AutoencoderKL"))
    TEXTS = ("text_encoder", "tokenizer")
    STEPS, GUIDANCE = 50, 7.5

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        super().__init__(checkpoint, computing)
        self.text = TextEncoder.read(
            checkpoint.folder, "text_encoder", "CLIPTextModel", "tokenizer", "CLIPTokenizer", None
        )

    def alignment(self) -> int:
        """Every level but the last halves."""
        return int(2 ** (len(self.denoiser_config["block_out_channels"]) - 1))

    def largest(self) -> None:
        """A U-Net takes any size."""
        return None

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """The encoder's states [1, L, D] of each text."""
        model = self.text.load(self.computing)
        masked = getattr(model.config, "use_attention_mask", False)
        out: list[Row] = []
        for text in texts:
            tokens = self.text.tokens(text, self.computing)
            mask = tokens.attention_mask if masked else None
            out.append({"text": model(tokens.input_ids, attention_mask=mask).last_hidden_state})
        return out

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words past the encoder's length."""
        return self.text.not_understood(text)

    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """One call of the U-Net."""
        out: Tensor = self.denoiser(latents, timesteps, encoder_hidden_states=told["text"], return_dict=False)[0]
        return out

    def grid(self, tokens: int, rows: int, columns: int) -> Grid:
        """Layers see the latents halved zero or more times."""
        scale = math.isqrt(rows * columns // tokens)
        return Grid(scale, rows // scale)

    def scheduler(self) -> Mapping[str, Any]:
        """The checkpoint's scheduler where its steps are a table, else DDIM over the same training noise.

        As diffusers' pipeline does, early configurations are corrected: nothing is clipped, and timesteps start at 1.
        """
        return {**deterministic(self.checkpoint.scheduler), "clip_sample": False, "steps_offset": 1}
