"""A model that is watched while a canvas is made: what it is shown at every step is what joining left of the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from safa_stream.evaluation.wrapping import WrappedModel
from safa_stream.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class WatchedModel(WrappedModel):
    """Keeps the latents of every call of `denoise` and what came of it, by timestep."""

    seen: dict[float, list[FloatArray]] = field(default_factory=dict)
    told: dict[float, list[FloatArray]] = field(default_factory=dict)

    def around(self, latents: Array, timesteps: Array, call: Callable[[], Array]) -> Array:
        when = float(self.inner.to_numpy(timesteps)[0])
        self.seen.setdefault(when, []).append(np.array(self.inner.to_numpy(latents)))
        result = call()
        self.told.setdefault(when, []).append(np.array(self.inner.to_numpy(result)))
        return result

    def states(self, views: int) -> FloatArray:
        """[S, n, C, L, F]: the first `views` rows of every step; number 0 is the noise, number k what step k left."""
        return np.stack([np.concatenate(batches)[:views] for batches in self.seen.values()])

    def outputs(self, views: int) -> FloatArray:
        """[S, n, C, L, F]: what the network answered for the same rows."""
        return np.stack([np.concatenate(batches)[:views] for batches in self.told.values()])
