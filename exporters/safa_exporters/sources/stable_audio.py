"""Stable Audio Open (arXiv 2407.14358): a diffusion transformer over waveform latents [B, 64, T] of 2048/44100 s each.

It attends to a text and two durations, and is told the durations once more as a global vector. The rotary embedding,
an input in diffusers, is computed inside the graph from the number of frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from safa_exporters.graph import Axis, Graph, Part, Sampling
from safa_exporters.sources.latent_decoders import BATCH, OobleckDecoder, decoder_graph
from safa_exporters.sources.sampling import frame_count, normal, table
from safa_exporters.sources.waveform import WaveformLatents
from safa_stream.models.pretrained.checkpoint import Checkpoint, Kind
from safa_stream.types import FloatArray

#: T5's tokens in the diffusers pipeline, which pads every text, and one vector each for beginning and end in seconds.
TOKENS = 128 + 2
#: Of a trajectory whose length is not told: 10 s.
USUAL_FRAMES = 216
LONGEST = 4096


class RotaryDenoiser(nn.Module):
    """StableAudioDiTModel: latents, timestep [B], text and durations [B, L, D], durations [B, 1, G] to prediction."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer
        size = int(transformer.config.attention_head_dim) // 2
        # No buffer, as half precision would move phases by radians. Made here, as the exporter folds powers otherwise.
        self.frequencies = 1 / 10000 ** (torch.arange(0, size, 2, dtype=torch.float32) / size)

    def forward(
        self, latents: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, global_hidden_states: Tensor
    ) -> Tensor:
        """The prediction, of the latents' shape."""
        out: Tensor = self.transformer(
            latents,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            global_hidden_states=global_hidden_states,
            # The global vector goes before the first frame.
            rotary_embedding=self.rotary(latents.shape[2] + 1),
            return_dict=False,
        )[0]
        return out

    def rotary(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [length, D], as diffusers' get_1d_rotary_pos_embed makes them for this transformer."""
        angles = torch.outer(torch.arange(length, dtype=torch.float32), self.frequencies).repeat(1, 2)
        return angles.cos(), angles.sin()


class StableAudio(WaveformLatents):
    """Stable Audio Open: a denoiser and a decoder."""

    KINDS = (Kind("transformer", "StableAudioDiTModel"), Kind("vae", "AutoencoderOobleck"))

    def __init__(self, checkpoint: Checkpoint, kind: str = "stable-audio") -> None:
        super().__init__(checkpoint, kind, ("in_channels", "decoder_input_channels"))

    def graphs(self) -> Sequence[Graph]:
        """Denoiser and decoder."""
        draw = np.random.default_rng(0)
        denoiser = Graph(
            name="denoiser",
            module=lambda: RotaryDenoiser(self.transformer.load()).eval(),
            inputs={
                "latents": normal(draw, 2, self.channels, 32),
                "timestep": np.array([0.99, 0.3], np.float32),
                **self.conditioning(draw, 2),
            },
            output="prediction",
            axes={
                "latents": {0: BATCH, 2: Axis("time", least=2, most=LONGEST)},
                "timestep": {0: BATCH},
                "encoder_hidden_states": {0: BATCH},
                "global_hidden_states": {0: BATCH},
            },
        )
        return denoiser, decoder_graph(self.vae, OobleckDecoder, (2, self.channels, 8), "sound", LONGEST)

    def sample(self, parts: Mapping[str, Part], sampling: Sampling) -> FloatArray:
        """Sound [rows, channels, N]; random vectors stand for text and durations, zeros for no text, as in diffusers.

        The checkpoint's stochastic solver is replaced by DPM-Solver++ over the same noise levels.
        """
        frames = frame_count(sampling, USUAL_FRAMES)
        told = self.conditioning(np.random.default_rng((sampling.seed, 1)), sampling.rows)
        without = told | {"encoder_hidden_states": np.zeros_like(told["encoder_hidden_states"])}
        solver = table(self.checkpoint.scheduler, sampling.steps)
        return self.sound(parts, sampling, frames, solver, told, without)

    def conditioning(self, draw: np.random.Generator, rows: int) -> dict[str, npt.NDArray[Any]]:
        """Random conditioning of `rows` rows."""
        config = self.transformer.config
        return {
            "encoder_hidden_states": normal(draw, rows, TOKENS, int(config["cross_attention_input_dim"])),
            "global_hidden_states": normal(draw, rows, 1, int(config["global_states_input_dim"])),
        }
