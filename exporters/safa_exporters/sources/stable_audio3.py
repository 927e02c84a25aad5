"""Stable Audio 3 (arXiv 2605.17991): rectified flow over waveform latents [B, 256, T] of 4096/44100 s each.

It attends to a text and a duration, and is told the duration once more as a global vector. Positions of the text that
a mask of 0 names are replaced by a learnt vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from safa_exporters.graph import Axis, Graph, Part, Sampling
from safa_exporters.sources.latent_decoders import BATCH, SameDecoder, decoder_graph
from safa_exporters.sources.sampling import frame_count, normal, table
from safa_exporters.sources.waveform import WaveformLatents
from safa_stream.errors import ModelError
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.models.pretrained.stable_audio3 import sigmas
from safa_stream.types import FloatArray

#: T5Gemma's tokens in the diffusers pipeline, which pads every text, and one vector for the duration.
TOKENS = 256 + 1
#: Of a trajectory whose length is not told: 10 s.
USUAL_FRAMES = 108
LONGEST = 4096
#: The decoder's attention holds [17 T, 17 T] values for T frames: 24 s at most in one piece.
LONGEST_DECODED = 256


class TimeFeatures(nn.Module):
    """StableAudio3ExpoFourierFeatures with its frequencies made beforehand: times [B, 1] in 0..1 to [B, D].

    A time goes round up to 10,000 times, so frequencies that the exporter folds less exactly, or any of this in half
    precision, would give other features.
    """

    def __init__(self, features: Any) -> None:
        super().__init__()
        low, high = math.log(features.min_freq), math.log(features.max_freq)
        self.frequencies = torch.exp(torch.linspace(0, 1, features.dim // 2) * (high - low) + low)

    def forward(self, time: Tensor) -> Tensor:
        """Cosines, then sines."""
        angles = time.float() * self.frequencies * 2 * math.pi
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class FlowDenoiser(nn.Module):
    """StableAudio3DiTModel: latents, timestep [B] in 0..1, text and duration with mask, duration [B, G] to velocity."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        transformer.timestep_features = TimeFeatures(transformer.timestep_features)
        self.transformer = transformer

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        global_hidden_states: Tensor,
    ) -> Tensor:
        """The velocity, of the latents' shape."""
        out: Tensor = self.transformer(
            latents,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            global_hidden_states=global_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            return_dict=False,
        )[0]
        return out


class StableAudio3(WaveformLatents):
    """Stable Audio 3: a denoiser and a decoder."""

    KINDS = (Kind("transformer", "StableAudio3DiTModel"), Kind("vae", "AutoencoderSAME"))

    def __init__(self, checkpoint: Checkpoint, kind: str = "stable-audio-3") -> None:
        super().__init__(checkpoint, kind, ("io_channels", "latent_dim"))
        config = self.transformer.config
        self.patch = int(config["patch_size"])
        if config["cond_token_dim"] != config["global_cond_dim"]:
            raise ModelError(
                f"{self.transformer.folder}: the duration is a token as well as the global vector, but cond_token_dim "
                f"is {config['cond_token_dim']} and global_cond_dim {config['global_cond_dim']}"
            )

    def graphs(self) -> Sequence[Graph]:
        """Denoiser and decoder."""
        draw = np.random.default_rng(0)
        denoiser = Graph(
            name="denoiser",
            module=lambda: FlowDenoiser(self.transformer.load()).eval(),
            inputs={
                "latents": normal(draw, 2, self.channels, 24 * self.patch),
                "timestep": np.array([0.99, 0.3], np.float32),
                **self.conditioning(draw, self.duration(draw, 2)),
            },
            output="prediction",
            axes={
                "latents": {0: BATCH, 2: Axis("time", least=2, most=LONGEST, multiple=self.patch)},
                "timestep": {0: BATCH},
                "encoder_hidden_states": {0: BATCH},
                "encoder_attention_mask": {0: BATCH},
                "global_hidden_states": {0: BATCH},
            },
        )
        return denoiser, decoder_graph(self.vae, SameDecoder, (2, self.channels, 6), "sound", LONGEST_DECODED)

    def sample(self, parts: Mapping[str, Part], sampling: Sampling) -> FloatArray:
        """Sound [rows, channels, N]; random vectors stand for text and duration, another random text for none.

        Euler steps over the pipeline's noise levels, also where the checkpoint's scheduler would add noise.
        """
        frames = frame_count(sampling, USUAL_FRAMES, self.patch)
        draw = np.random.default_rng((sampling.seed, 1))
        duration = self.duration(draw, sampling.rows)
        told, without = (self.conditioning(draw, duration) for _ in range(2))
        solver = table(self.checkpoint.scheduler, sampling.steps, sigmas)
        return self.sound(parts, sampling, frames, solver, told, without)

    def duration(self, draw: np.random.Generator, rows: int) -> FloatArray:
        """Random vectors [rows, D] that stand for a duration."""
        return normal(draw, rows, int(self.transformer.config["global_cond_dim"]))

    def conditioning(self, draw: np.random.Generator, duration: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """Random texts, of which two thirds are padding, with the duration after them."""
        text = normal(draw, len(duration), TOKENS, duration.shape[1])
        text[:, -1] = duration
        mask = np.ones((len(duration), TOKENS), np.int64)
        mask[:, TOKENS // 3 : -1] = 0
        return {
            "encoder_hidden_states": text,
            "encoder_attention_mask": mask,
            "global_hidden_states": duration,
        }
