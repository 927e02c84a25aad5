"""What models over waveform latents [B, C, T] share: transformer, autoencoder, and how a trajectory becomes sound."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from safa_exporters.graph import About, Part, Sampling
from safa_exporters.sources.sampling import denoise, guided, normal
from safa_stream.models.backends.graphs import Arrays
from safa_stream.models.pretrained.checkpoint import Checkpoint
from safa_stream.models.pretrained.waveform import check_latents
from safa_stream.solvers import SolverTable
from safa_stream.types import FloatArray


class WaveformLatents:
    """A checkpoint with the components "transformer" and "vae". sizes: their names for latent channels."""

    def __init__(self, checkpoint: Checkpoint, kind: str, sizes: tuple[str, str]) -> None:
        self.checkpoint, self.kind = checkpoint, kind
        self.transformer, self.vae = checkpoint.components["transformer"], checkpoint.components["vae"]
        self.channels = int(self.transformer.config[sizes[0]])
        check_latents(checkpoint, self.channels, int(self.vae.config[sizes[1]]))

    @cached_property
    def about(self) -> About:
        """Where the graphs come from; reads every weight file."""
        return About.of(self.checkpoint, self.kind, int(self.vae.config["sampling_rate"]))

    def sound(
        self,
        parts: Mapping[str, Part],
        sampling: Sampling,
        frames: int,
        solver: SolverTable,
        conditional: Arrays,
        unconditional: Arrays,
    ) -> FloatArray:
        """Sound [rows, channels, N] of a trajectory from the seed's noise."""
        noise = normal(np.random.default_rng(sampling.seed), sampling.rows, self.channels, frames)
        predict = guided(parts["denoiser"], conditional, unconditional, sampling.guidance)
        return parts["decoder"]({"latents": denoise(solver, noise, predict)})
