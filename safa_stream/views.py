"""What joint generation and streaming share: batches of views, records of their states, frames lent by a reference."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import array_api_compat
import numpy as np

from safa_stream.models.interface import Conditioning, Denoiser, Encoded, ModelFacts, stack, take
from safa_stream.noise import noise
from safa_stream.operators import Along, Mask, choose, reference_mask
from safa_stream.swap import GOLDEN
from safa_stream.trajectory import Trajectory
from safa_stream.types import Array, DoubleArray

#: What the noise of reference trajectories is drawn for.
REFERENCE = "reference"


def first_state(model: Denoiser, seed: int, purpose: str, first_frame: int, count: int, scale: float) -> Array:
    """One view's noise [1, C, count, F] in the model's array world, `scale` its standard deviation.

    Every group of a model's has its own, and all have the same for their reference.
    """
    facts = model.facts
    groups = facts.groups if isinstance(facts, ModelFacts) else 1
    purposes = [
        purpose if not group or purpose == REFERENCE else f"{purpose}, group {group}" for group in range(groups)
    ]
    own = facts.latent_channels // groups
    drawn = np.concatenate([noise(seed, one, first_frame, count, own, facts.latent_bins) for one in purposes])
    return model.from_numpy(drawn[None]) * scale


class Batch:
    """The conditionings of a batch's rows; the first rows of it can be told alone."""

    def __init__(self, rows: Sequence[Encoded], guidance: float) -> None:
        self.conditioning = stack([row.conditioning for row in rows])
        self.negative = stack([row.negative for row in rows])
        self.guidance = guidance

    def told(self, x: Array, timestep: float) -> tuple[Array, Conditioning, Conditioning, Array]:
        """(timesteps, conditioning, negative, guidance) for the rows of x, the first of the batch's."""
        xp, device, count = array_api_compat.array_namespace(x), array_api_compat.device(x), int(x.shape[0])
        # Single precision whatever x has: half precision cannot tell all of a thousand timesteps apart.
        timesteps, guidance = (
            xp.asarray([value] * count, dtype=xp.float32, device=device) for value in (timestep, self.guidance)
        )
        rows = (take(told, 0, count) for told in (self.conditioning, self.negative))
        return timesteps, next(rows), next(rows), guidance


@dataclass(slots=True)
class Record:
    """Collects one batch row's states [C, T, F] and histories after every step, from frame `start` on."""

    row: int
    start: int = 0
    states: list[Array] = field(default_factory=list)
    history: list[Array] = field(default_factory=list)

    def note(self, x: Array, h: Array | None) -> None:
        """Keep what x and h hold now; they must not be written to afterwards."""
        self.states.append(x[self.row, :, self.start :])
        if h is not None:
            self.history.append(h[self.row, :, self.start :])

    def trajectory(self, times: tuple[float, ...] = ()) -> Trajectory:
        """All that was noted, with the times of as many states."""
        xp = array_api_compat.array_namespace(self.states[0])
        history = xp.stack(self.history) if self.history else None
        return Trajectory(xp.stack(self.states), history, times[: len(self.states)])


@dataclass(frozen=True, slots=True)
class Lender:
    """Reference trajectories that lend Mid frames (Eq. 11); with several, each lends a share equal to its weight.

    weights: numbers, or arrays with one for each frame of Mid. The reference's Mid is turned by `shift` frames before.
    Which of several lends a frame is a fixed scattered choice, so while a weight grows frames only move to it. With
    `level` the view's own frames are first moved, each latent value by one amount, so that their mean over Mid is the
    reference's.
    """

    sources: Sequence[Trajectory | Record]
    weights: Sequence[float | DoubleArray]
    shift: int = 0
    interval: int = 1
    along: Along = "frames"
    level: bool = False

    def lend(self, view: Array, which: str, index: int, start: int, stop: int) -> None:
        """Write into Mid (frames start .. stop - 1) of a view's `which`, states or history [C, T, F], after a step."""
        if stop <= start:
            return
        if any(getattr(source, which) is None for source in self.sources):
            return  # a reference whose solver kept no history lends none
        xp = array_api_compat.array_namespace(view)
        mids = [
            xp.roll(getattr(source, which)[index + 1][:, start:stop], -self.shift, axis=1) for source in self.sources
        ]
        lent = mids[0]
        for mask, mid in zip(self._turns(stop - start), mids[1:], strict=True):
            lent = choose(mask, mid, lent)
        if self.level:
            own = view[:, start:stop]
            view[:, start:stop] = own + xp.mean(lent, axis=1, keepdims=True) - xp.mean(own, axis=1, keepdims=True)
        size = stop - start if self.along == "frames" else int(view.shape[2])
        view[:, start:stop] = choose(reference_mask(size, self.interval), lent, view[:, start:stop], self.along)

    def _turns(self, frames: int) -> list[Mask]:
        """For every source but the first, which frames are its turn."""
        if len(self.sources) == 1:
            return []
        draw = (np.arange(frames) + 1) * GOLDEN % 1.0
        limits = np.cumsum([np.broadcast_to(weight, frames) for weight in self.weights], axis=0)
        return [np.asarray((draw >= low) & (draw < high)) for low, high in zip(limits, limits[1:], strict=False)]


def roll_of(index: int, frames: int) -> int:
    """How far view `index` turns the reference's Mid: neighbours, and neighbours' neighbours, lie far apart."""
    return int(index * GOLDEN % 1.0 * frames)


def digest(model: Denoiser, encoded: Encoded) -> str:
    """A name for what a model is told: equal for equal conditionings."""
    mark = hashlib.blake2b(digest_size=16)
    for conditioning in (encoded.conditioning, encoded.negative):
        for name in sorted(conditioning.tensors):
            values = model.to_numpy(conditioning.tensors[name])
            mark.update(f"{name}{values.shape}".encode() + np.ascontiguousarray(values).tobytes())
    return mark.hexdigest()
