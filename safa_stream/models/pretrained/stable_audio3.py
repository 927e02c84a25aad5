"""Stable Audio 3 (arXiv 2605.17991): rectified flow over waveform latents [B, 256, T, 1] of 4096 / 44100 s each.

It attends to a text and a duration, and is told the duration once more as a vector. All views of a stream are told the
same, see `timing`. Trained to fill gaps as well, it is told the finished frames of the view before (`takes_context`).

The distilled checkpoint was made for eight "ping-pong" steps, each of which draws fresh noise, which no other view
could share: here it makes Euler steps over the same noise levels. It needs no guidance; the base checkpoint does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from safa_stream.errors import ModelError
from safa_stream.models.interface import Conditioning
from safa_stream.models.pretrained.base import Row
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.computing import Computing
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.models.pretrained.timing import middle_of
from safa_stream.models.pretrained.waveform import WaveformModel, check_latents, decoding
from safa_stream.models.pretrained.waveform_decoder import same_halo, without_encoder
from safa_stream.solvers import SolverTable
from safa_stream.types import Array

#: Tokens of a text, and steps and guidance of the distilled checkpoint and of the base one: the pipeline's own but the
#: last, which it does not name; Stable Audio Open's stands for it.
TOKENS, DISTILLED, BASE = 256, (8, 1.0), (100, 7.0)
#: Logarithms of signal to noise at which the pipeline starts and ends.
NOISIEST, CLEANEST = -6.2, 2.0
#: Frames of a view, about 24 s: the model takes any length up to minutes.
VIEW = 256


def sigmas(steps: int) -> list[float]:
    """Noise levels [S], even in the logarithm of signal to noise; the first is pure noise."""
    even = CLEANEST - torch.linspace(1, 0, steps + 1) * (CLEANEST - NOISIEST)
    return [1.0, *torch.sigmoid(-even)[1:-1].tolist()]


class StableAudio3(WaveformModel):
    """A checkpoint of a StableAudio3Pipeline."""

    KINDS = (
        Kind("transformer", "StableAudio3DiTModel"),
        Kind("vae", "AutoencoderSAME"),
        Kind("duration_embedder", "StableAudio3DurationEmbedder"),
    )

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        super().__init__(checkpoint, computing)
        parts = checkpoint.components
        config, vae = parts["transformer"].config, parts["vae"].config
        check_latents(checkpoint, int(config["io_channels"]), int(vae["latent_dim"]))
        if config["cond_token_dim"] != config["global_cond_dim"]:
            raise ModelError(
                f"{checkpoint.folder}: the duration is a token and a vector, so cond_token_dim and global_cond_dim "
                f"must be one size, not {config['cond_token_dim']} and {config['global_cond_dim']}"
            )
        transformer = parts["transformer"].load()
        self.padding = computing.tensor(transformer.prompt_padding_embedding.detach())
        self.transformer = computing.denoiser(transformer)
        self.vae = computing.exact(without_encoder(parts["vae"].load()))
        self.duration_embedder = computing.exact(parts["duration_embedder"].load())
        self.read_texts("T5GemmaEncoderModel", "GemmaTokenizer", TOKENS)
        scale, patch = int(self.vae.downsampling_ratio), int(config["patch_size"])
        halo = same_halo(
            list(reversed(vae["encoder_strides"])),
            list(reversed(vae["encoder_transformer_depths"])),
            int(vae["sliding_window"]),
        )
        limits = parts["duration_embedder"].config
        self.seconds = middle_of(VIEW * scale / vae["sampling_rate"], limits["min_val"], limits["max_val"]).total
        steps, guidance = DISTILLED if checkpoint.scheduler.get("stochastic_sampling", False) else BASE
        self.describe(
            decoding(self.vae),
            halo,
            sample_rate=int(vae["sampling_rate"]),
            channels=int(vae["audio_channels"]),
            samples_per_frame=scale,
            latent_channels=int(config["io_channels"]),
            view=-(-VIEW // patch) * patch,
            steps=steps,
            guidance=guidance,
            alignment=patch,
            takes_context=patch == 1 and config["local_add_cond_dim"] == config["io_channels"] + 1,
        )

    def rows(self, texts: Sequence[str], beside: Sequence[str] = ()) -> list[Row]:
        """Each: "text" [1, L + 1, D], the learnt vector for none after it, the duration last; "duration" [1, D]."""
        return [self._row(text) for text in texts]

    def denoise(
        self,
        latents: Array,
        timesteps: Array,
        conditioning: Conditioning,
        negative: Conditioning,
        guidance: Array,
        context: Array | None = None,
        known: Array | None = None,
    ) -> Array:
        """As every model; finished frames are told as those to keep while a gap is filled."""
        if context is not None and known is not None and self.facts.takes_context:
            shown = {"kept": torch.cat([known[:, None, :, None], context * known[:, None, :, None]], dim=1)[..., 0]}
            conditioning = Conditioning({**conditioning.tensors, **shown})
            negative = Conditioning({**negative.tensors, **shown})
        return super().denoise(latents, timesteps, conditioning, negative, guidance)

    def predict(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """The velocity of latents [N, C, T, 1] at times 1 to 0. "kept" [N, 1 + C, T]: known, and the frames."""
        if "kept" not in told:
            return self._velocity(latents, timesteps, told)
        # Nothing kept is not zeros to the network, and a row must not depend on those beside it.
        keeps = told["kept"][:, 0].amax(dim=1) > 0
        out = torch.empty_like(latents)
        for rows in (keeps, ~keeps):
            if rows.any():
                shown = {name: tensor[rows] for name, tensor in told.items()}
                if not keeps[rows].any():
                    del shown["kept"]
                out[rows] = self._velocity(latents[rows], timesteps[rows], shown)
        return out

    def solver(self, steps: int) -> SolverTable:
        """Euler steps over the pipeline's noise levels."""
        return self.sampled(steps, sigmas)

    def _velocity(self, latents: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        out: Tensor = self.transformer(
            latents[..., 0],
            timesteps,
            encoder_hidden_states=told["text"],
            global_hidden_states=told["duration"],
            local_add_cond=told.get("kept"),
            return_dict=False,
        )[0]
        return out[..., None]

    def _row(self, text: str) -> Row:
        with quiet():
            told = self.tokenizer(
                text, padding="max_length", max_length=self.longest, truncation=True, return_tensors="pt"
            ).to(self.computing.device)
        found = self.text_encoder(told.input_ids, attention_mask=told.attention_mask)[0]
        shown = torch.where(told.attention_mask.bool()[..., None], found, self.padding)
        duration = self.duration_embedder(torch.tensor([self.seconds], device=found.device))
        return {"text": torch.cat([shown, duration[:, None]], dim=1), "duration": duration}
