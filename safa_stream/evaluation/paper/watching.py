"""A model that is watched while a canvas is made: what it is shown at every step is what joining left of the last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from safa_stream.models.interface import Conditioning, Decoder, Encoded, Model, ModelFacts
from safa_stream.solvers import SolverTable
from safa_stream.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class WatchedModel:
    """Keeps the latents of every call of `denoise` and what came of it, by timestep."""

    inner: Model
    seen: dict[float, list[FloatArray]] = field(default_factory=dict)
    told: dict[float, list[FloatArray]] = field(default_factory=dict)

    @property
    def facts(self) -> ModelFacts:
        return self.inner.facts

    def encode(self, prompts: Any, negative: Any, seed: int) -> Encoded:
        return self.inner.encode(prompts, negative, seed)

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
        when = float(self.inner.to_numpy(timesteps)[0])
        self.seen.setdefault(when, []).append(np.array(self.inner.to_numpy(latents)))
        result = self.inner.denoise(latents, timesteps, conditioning, negative, guidance, context, known)
        self.told.setdefault(when, []).append(np.array(self.inner.to_numpy(result)))
        return result

    def solver(self, steps: int) -> SolverTable:
        return self.inner.solver(steps)

    def decoder(self) -> Decoder:
        return self.inner.decoder()

    def from_numpy(self, array: Array) -> Array:
        return self.inner.from_numpy(array)

    def to_numpy(self, array: Array) -> FloatArray:
        return self.inner.to_numpy(array)

    def states(self, views: int) -> FloatArray:
        """[S, n, C, L, F]: the first `views` rows of every step; number 0 is the noise, number k what step k left."""
        return np.stack([np.concatenate(batches)[:views] for batches in self.seen.values()])

    def outputs(self, views: int) -> FloatArray:
        """[S, n, C, L, F]: what the network answered for the same rows."""
        return np.stack([np.concatenate(batches)[:views] for batches in self.told.values()])
