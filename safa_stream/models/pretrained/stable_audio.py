"""Stable Audio Open 1.0 (arXiv 2407.14358): a transformer over waveform latents [B, 64, T, 1] of 2048 / 44100 s each.

It attends to a text and two durations: where the sound begins in its recording, and how long that is. It is told both
once more as a vector before the first frame. All views of a stream are told the same, see `timing`.

It was trained on 1024 frames (47.6 s) only, and that is its view; positions are rotary, so it takes any other length.
Its scheduler adds noise at every step; DPM-Solver++ 2M makes the same noise levels without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from safa_stream.models.pretrained.base import Row
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.timing import middle_of
from safa_stream.models.pretrained.waveform import WaveformModel, check_latents
from safa_stream.models.pretrained.waveform_decoder import oobleck_halo, without_encoder

#: Of a text; T5 was trained on as many.
TOKENS = 512
#: The pipeline's own defaults.
STEPS, GUIDANCE = 100, 7.0


class StableAudio(WaveformModel):
    """A checkpoint of a StableAudioPipeline."""

    KINDS = (
        Kind("transformer", "StableAudioDiTModel"),
        Kind("vae", "AutoencoderOobleck"),
        Kind("projection_model", "StableAudioProjectionModel"),
    )

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        super().__init__(checkpoint, computing)
        parts = checkpoint.components
        self.transformer = computing.denoiser(parts["transformer"].load())
        self.vae = computing.exact(without_encoder(parts["vae"].load()))
        self.projection = computing.exact(parts["projection_model"].load())
        self.read_texts("T5EncoderModel", "T5Tokenizer", TOKENS)
        config, rate, scale = parts["transformer"].config, self.vae.config.sampling_rate, int(self.vae.hop_length)
        check_latents(checkpoint, int(config["in_channels"]), int(self.vae.config.decoder_input_channels))
        view, limits = int(config["sample_size"]), parts["projection_model"].config
        self.timing = middle_of(view * scale / rate, limits["min_value"], limits["max_value"])
        self.rotary_size = int(config["attention_head_dim"]) // 2
        self.describe(
            self.vae.decoder,
            oobleck_halo(self.vae.upsampling_ratios),
            sample_rate=int(rate),
            channels=int(self.vae.config.audio_channels),
            samples_per_frame=scale,
            latent_channels=int(config["in_channels"]),
            view=view,
            steps=STEPS,
            guidance=GUIDANCE,
        )

    def rows(self, texts: Sequence[str], beside: Sequence[str] = ()) -> list[Row]:
        """Each: "text" [1, L + 2, D], the durations last, and "duration" [1, 1, 2 D]."""
        return [self._row(self._text(text)) for text in texts]

    def without(self, beside: Sequence[str]) -> Row:
        """Zeros in place of text and durations; the vector of the durations stays."""
        row = self.rows([""])[0]
        return {**row, "text": torch.zeros_like(row["text"])}

    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """v of latents [N, C, T, 1] at timesteps 2/pi atan(sigma)."""
        out: Tensor = self.transformer(
            latents[..., 0],
            timesteps,
            encoder_hidden_states=told["text"],
            global_hidden_states=told["duration"],
            # The vector of the durations goes before the first frame.
            rotary_embedding=rotary(self.rotary_size, int(latents.shape[2]) + 1, latents.device),
            return_dict=False,
        )[0]
        return out[..., None]

    def _text(self, text: str) -> Tensor:
        """[1, L, D], zeros after the text."""
        with quiet():
            told = self.tokenizer(
                text, padding="max_length", max_length=self.longest, truncation=True, return_tensors="pt"
            ).to(self.computing.device)
        mask: Tensor = told.attention_mask
        found: Tensor = self.text_encoder(told.input_ids, attention_mask=mask)[0]
        shown: Tensor = self.projection(text_hidden_states=found).text_hidden_states
        return shown * mask[..., None]

    def _row(self, text: Tensor) -> Row:
        seconds = (torch.tensor([value], device=text.device) for value in (self.timing.start, self.timing.total))
        found = self.projection(start_seconds=next(seconds), end_seconds=next(seconds))
        start, total = found.seconds_start_hidden_states, found.seconds_end_hidden_states
        return {"text": torch.cat([text, start, total], dim=1), "duration": torch.cat([start, total], dim=2)}


def rotary(size: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, size] of positions 0 .. length - 1, as the pipeline makes them."""
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    cosines, sines = get_1d_rotary_pos_embed(size, length, use_real=True, repeat_interleave_real=False)
    return cosines.to(device), sines.to(device)
