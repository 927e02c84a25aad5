"""Stable Audio Open 1.0 (arXiv 2407.14358): a transformer over waveform latents [B, 64, T, 1] of 2048 / 44100 s each.

It attends to a text and two durations: where the sound begins in its recording, and how long that is. It is told both
once more as a vector before the first frame. All views of a stream are told the same, see `timing`.

It was trained on 1024 frames (47.6 s) only, and that is its view; positions are rotary, so it takes any other length.
Its scheduler adds noise at every step; DPM-Solver++ 2M makes the same noise levels without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from safa_stream.errors import ModelError, UsageError
from safa_stream.models.interface import ModelFacts
from safa_stream.models.pretrained.base import PretrainedModel, Row
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.texts import load_text_model, load_tokenizer, not_understood
from safa_stream.models.pretrained.timing import middle_of
from safa_stream.models.pretrained.waveform_decoder import oobleck_halo, waveform_decoder, without_encoder
from safa_stream.models.pretrained.windows import WindowDecoder
from safa_stream.solvers import SolverTable, dpm_solver_pp_2m

COSINE = "CosineDPMSolverMultistepScheduler"
#: The pipeline's own defaults.
STEPS, GUIDANCE = 100, 7.0


class StableAudio(PretrainedModel):
    """A checkpoint of a StableAudioPipeline."""

    KINDS = (
        Kind("transformer", "StableAudioDiTModel"),
        Kind("vae", "AutoencoderOobleck"),
        Kind("projection_model", "StableAudioProjectionModel"),
    )
    TEXTS = ("text_encoder", "tokenizer")

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        super().__init__(checkpoint, computing)
        parts = checkpoint.components
        self.transformer = computing.denoiser(parts["transformer"].load())
        self.vae = computing.exact(without_encoder(parts["vae"].load()))
        self.projection = computing.exact(parts["projection_model"].load())
        self.text_encoder = computing.exact(load_text_model(checkpoint.folder / "text_encoder", "T5EncoderModel"))
        self.tokenizer = load_tokenizer(checkpoint.folder / "tokenizer", "T5Tokenizer")
        self.longest = token_limit(self.tokenizer, 512)
        config, rate, scale = parts["transformer"].config, self.vae.config.sampling_rate, int(self.vae.hop_length)
        check_latents(checkpoint, int(config["in_channels"]), int(self.vae.config.decoder_input_channels))
        view, limits = int(config["sample_size"]), parts["projection_model"].config
        self.timing = middle_of(view * scale / rate, limits["min_value"], limits["max_value"])
        self.rotary_size = int(config["attention_head_dim"]) // 2
        self.halo = oobleck_halo(self.vae.upsampling_ratios)
        self.facts = ModelFacts(
            name=checkpoint.name,
            version=checkpoint.version,
            sample_rate=int(rate),
            channels=int(self.vae.config.audio_channels),
            samples_per_frame=scale,
            view_frames=view,
            frame_alignment=1,
            latent_channels=int(config["in_channels"]),
            latent_bins=1,
            default_steps=STEPS,
            default_guidance=GUIDANCE,
            default_overlap=0.2,
            decoder_halo=self.halo,
            takes_context=False,
            sounds=(),
            licence=checkpoint.licence,
        )

    def rows(self, texts: Sequence[str], beside: Sequence[str] = ()) -> list[Row]:
        """Each: "text" [1, L + 2, D], the durations last, and "duration" [1, 1, 2 D]."""
        return [self._row(self._text(text)) for text in texts]

    def without(self, beside: Sequence[str]) -> Row:
        """Zeros in place of text and durations; the vector of the durations stays."""
        row = self.rows([""])[0]
        return {**row, "text": torch.zeros_like(row["text"])}

    def not_understood(self, text: str) -> tuple[str, ...]:
        """Words past the tokenizer's length, or that it does not know."""
        return not_understood(self.tokenizer, text, self.longest)

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

    def decoder(self) -> WindowDecoder:
        """Oobleck's decoder."""
        return waveform_decoder(self.vae.decoder, self.halo, self.facts.samples_per_frame, self.computing)

    def solver(self, steps: int) -> SolverTable:
        """DPM-Solver++ 2M over the checkpoint's noise levels."""
        if self.checkpoint.scheduler["_class_name"] == COSINE:
            return cosine_table(self.checkpoint.scheduler, steps)
        return super().solver(steps)

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


def cosine_table(config: Mapping[str, Any], steps: int) -> SolverTable:
    """DPM-Solver++ 2M over the noise levels of a CosineDPMSolverMultistepScheduler, which itself adds noise.

    The scheduler holds clean + sigma noise and shows the network that times 1 / sqrt(sigma^2 + 1); the table's states
    are what the network is shown, so no scaling is left. Raises UsageError for options that change more than levels.
    """
    plain = {"sigma_data": 1.0, "prediction_type": "v_prediction", "solver_order": 2}
    for option, value in plain.items():
        if config.get(option, value) != value:
            raise UsageError(f"{COSINE} with {option} {config[option]!r} is not supported; it should be {value!r}")
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= 1000:
        raise UsageError(f"the sampler takes a whole number of steps from 1 to 1000, not {steps!r}")
    low, high = float(config.get("sigma_min", 0.3)), float(config.get("sigma_max", 500.0))
    schedule, rho = config.get("sigma_schedule", "exponential"), float(config.get("rho", 7.0))
    if schedule == "exponential":
        sigmas = torch.linspace(math.log(low), math.log(high), steps).exp().flip(0).tolist() if steps > 1 else [high]
    elif schedule == "karras":
        ramp, top, bottom = torch.linspace(0, 1, steps), high ** (1 / rho), low ** (1 / rho)
        sigmas = ((top + ramp * (bottom - top)) ** rho).tolist()
    else:
        raise UsageError(f"{COSINE} with sigma_schedule {schedule!r} is not supported; use exponential or karras")
    end = low if config.get("final_sigmas_type", "zero") == "sigma_min" else 0.0
    levels = [*sigmas, end]
    short = bool(config.get("lower_order_final", True)) and steps < 15
    first_order = [steps - 1] if short or config.get("euler_at_final", False) else []
    return dpm_solver_pp_2m(
        [1 / math.sqrt(sigma**2 + 1) for sigma in levels],
        [sigma / math.sqrt(sigma**2 + 1) for sigma in levels],
        [math.atan(sigma) / math.pi * 2 for sigma in sigmas],
        "v_prediction",
        heun=config.get("solver_type", "midpoint") == "heun",
        first_order=first_order,
    )


def rotary(size: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, size] of positions 0 .. length - 1, as the pipeline makes them."""
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    cosines, sines = get_1d_rotary_pos_embed(size, length, use_real=True, repeat_interleave_real=False)
    return cosines.to(device), sines.to(device)


def token_limit(tokenizer: Any, most: int) -> int:
    """How many tokens a text may have: the tokenizer's own limit where it has one, at most `most`."""
    return min(int(tokenizer.model_max_length), most)


def check_latents(checkpoint: Checkpoint, denoised: int, decoded: int) -> None:
    """Raise ModelError unless the denoiser makes as many latent channels as the autoencoder decodes."""
    if denoised != decoded:
        raise ModelError(
            f"{checkpoint.folder}: transformer and vae do not fit each other: {denoised} and {decoded} latent channels"
        )
