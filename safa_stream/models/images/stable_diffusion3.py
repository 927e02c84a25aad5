"""Stable Diffusion 3 and 3.5 (arXiv 2403.03206): a multimodal DiT over rectified flow, told by two CLIPs and a T5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from safa_stream.models.images.base import PretrainedImages
from safa_stream.models.images.texts import TextEncoder, joint_embedding
from safa_stream.models.merging import Grid
from safa_stream.models.pretrained.base import Row
from safa_stream.models.pretrained.checkpoint import INDEX_NAME, Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.weights import read_json
from safa_stream.schedulers import deterministic

CLIP = "CLIPTextModelWithProjection"
#: Tokens of the T5, filled up or cut off, as in diffusers' pipeline.
LONGEST = 256


class StableDiffusion3(PretrainedImages):
    """Pipelines of the class StableDiffusion3Pipeline. The third text encoder, a T5, may be left out of them."""

    KINDS = (Kind("transformer", "SD3Transformer2DModel"), Kind("vae", "AutoencoderKL"))
    TEXTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")
    STEPS, GUIDANCE = 28, 7.0

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        super().__init__(checkpoint, computing)
        folder = checkpoint.folder
        first = TextEncoder.read(folder, "text_encoder", CLIP, "tokenizer", "CLIPTokenizer", None)
        second = TextEncoder.read(folder, "text_encoder_2", CLIP, "tokenizer_2", "CLIPTokenizer", first.longest)
        self.clips = (first, second)
        named = read_json(folder / INDEX_NAME, "the index of a diffusers pipeline").get("text_encoder_3") or [None]
        self.t5 = (
            None
            if named[-1] is None
            else TextEncoder.read(folder, "text_encoder_3", "T5EncoderModel", "tokenizer_3", "T5Tokenizer", LONGEST)
        )

    def alignment(self) -> int:
        """Whole patches."""
        return int(self.denoiser_config["patch_size"])

    def largest(self) -> int:
        """As far as the positions reach."""
        return int(self.denoiser_config["pos_embed_max_size"]) * self.alignment()

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """The states of all encoders one after the other [1, L, D], and the CLIPs' embeddings side by side [1, P].

        One encoder is in memory at a time.
        """
        encoded = [self._clip_states(clip, texts) for clip in self.clips]
        out: list[Row] = []
        for beyond, *pairs in zip(self._t5_states(texts), *encoded, strict=True):
            states = torch.cat([states for states, _ in pairs], dim=-1)
            states = torch.nn.functional.pad(states, (0, beyond.shape[-1] - states.shape[-1]))
            pooled = torch.cat([pooled for _, pooled in pairs], dim=-1)
            out.append({"text": torch.cat([states, beyond], dim=1), "pooled": pooled})
        return out

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words past the length of the encoder that reads furthest."""
        return (self.t5 or self.clips[0]).not_understood(text)

    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """One call of the transformer."""
        out: Tensor = self.denoiser(
            hidden_states=latents,
            timestep=timesteps,
            encoder_hidden_states=told["text"],
            pooled_projections=told["pooled"],
            return_dict=False,
        )[0]
        return out

    def grid(self, tokens: int, rows: int, columns: int) -> Grid:
        """Patches in all layers; where there are more tokens, the text's follow."""
        patch = self.alignment()
        return Grid(patch, rows // patch)

    def scheduler(self) -> Mapping[str, Any]:
        """The checkpoint's own, without chance."""
        return deterministic(self.checkpoint.scheduler)

    def _clip_states(self, clip: TextEncoder, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """A CLIP's states [1, L, D] and embedding [1, P] of each text."""
        model = clip.load(self.computing)
        return [joint_embedding(model, clip.tokens(text, self.computing)) for text in texts]

    def _t5_states(self, texts: Sequence[str]) -> list[Tensor]:
        """The T5's states [1, LONGEST, D]; zeros where there is none."""
        device = self.computing.device
        if self.t5 is None:
            width = int(self.denoiser_config["joint_attention_dim"])
            return [torch.zeros(1, LONGEST, width, device=device)] * len(texts)
        # On the CPU: it would take 19 GB of a GPU for one call a text.
        beside = replace(self.computing, device=torch.device("cpu"), dtype=torch.float32)
        model = self.t5.load(beside)
        return [model(self.t5.tokens(text, beside).input_ids).last_hidden_state.to(device) for text in texts]
