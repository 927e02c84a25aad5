"""What live methods share: the ground that they stand on, what they give and hold, and noise at the sampler's levels.

The rivals re-noise what is finished, so they need to know a state's clean and noisy shares: a straight flow's, which is
what the built-in models sample by (x = (1 - t) clean + t noise).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import array_api_compat

from safa_stream.errors import UsageError
from safa_stream.layout import ViewLayout
from safa_stream.models.interface import Encoded, Model
from safa_stream.solvers import Level, SolverTable
from safa_stream.types import Array
from safa_stream.views import Batch, first_state


class Live(Protocol):
    """A sound that is made on and on."""

    def advance(self, told: Encoded) -> Array:
        """The next latents [C, n, F] that are final, n > 0; whatever is computed for them is told `told`."""
        ...

    def flush(self) -> Array:
        """What is finished and yet held back, [C, m, F]: the sound's end if it ends here."""
        ...

    @property
    def begun(self) -> int:
        """Frames that are finished or in the making, and not given yet: a change of prompt comes too late for them."""
        ...

    @property
    def held(self) -> Sequence[Array]:
        """All arrays that are kept from one call to the next."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What every method of a comparison is given."""

    model: Model
    layout: ViewLayout
    table: SolverTable
    guidance: float
    seed: int

    @property
    def levels(self) -> tuple[Level, ...]:
        """[S + 1]: every state's clean and noisy share. Raises UsageError where the sampler is no straight flow."""
        if not all(0 <= time <= 1 for time in self.table.times):
            raise UsageError(
                f"sampler {self.table.name} of model {self.model.facts.name} counts no flow's time from 1 to 0; "
                "methods that re-noise (queues, outpainting) are compared on flows only"
            )
        return tuple(Level(1 - time, time) for time in self.table.times)

    def noise(self, purpose: str, first: int, count: int) -> Array:
        """Noise [C, count, F] of the frames from `first` on, at the sampler's first level."""
        return first_state(self.model, self.seed, purpose, first, count, self.table.initial_scale)[0]

    def renoised(self, x: Array, now: int, wanted: int, purpose: str, first: int) -> Array:
        """States x [C, n, F] after `now` steps as after `wanted` (fewer): fresh noise keyed by purpose and frame.

        x' = r x + (sigma'^2 - r^2 sigma^2)^(1/2) noise with r = alpha' / alpha, exact in distribution (arXiv
        2201.09865, Eq. 8a, for any two levels).
        """
        levels = self.levels
        share = levels[wanted].alpha / levels[now].alpha if levels[now].alpha else 1.0
        added = math.sqrt(max(0.0, levels[wanted].sigma ** 2 - (share * levels[now].sigma) ** 2))
        return x * share + self.noise(purpose, first, int(x.shape[1])) * added

    def denoise(
        self,
        x: Array,
        steps: Sequence[int],
        told: Encoded,
        context: Array | None = None,
        known: Array | None = None,
    ) -> Array:
        """The network's output for rows x [B, C, L, F], each at its own step [B]."""
        _, conditioning, negative, guidance = Batch([told] * len(steps), self.guidance).told(x, 0.0)
        xp = array_api_compat.array_namespace(x)
        times = [self.table.timesteps[index] for index in steps]
        timesteps = xp.asarray(times, dtype=xp.float32, device=array_api_compat.device(x))
        return self.model.denoise(x, timesteps, conditioning, negative, guidance, context, known)


def bytes_of(arrays: Sequence[Array]) -> int:
    """What arrays of any library take."""
    return sum(math.prod(array.shape) * 4 for array in arrays)
