"""A model with more channels than it has: groups of them, each of its own noise, all from one reference trajectory.

    channels   0 1 | 2 3 | 4 ...        group 0 is what the model makes by itself, bit for bit
    latents    [B, G C, T, F]           the groups side by side, for whatever joins, keeps or decodes them
    network    [B G, C, T, F]           rows of one batch, told the same: the cost is G times, but for references

Groups share prompts, style, timeline and reference, so they are one scene heard from several places; their noise, and
the decoder's, differ, so they are as uncorrelated as the model's own seeds. Where the channels do not fill the last
group, it gives its first ones: an average would be quieter and combed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

from safa_stream.channels import LARGEST_CHANNELS
from safa_stream.errors import ModelError, UsageError
from safa_stream.models.backends.spec import Backend
from safa_stream.models.interface import Conditioning, Decoder, DecoderState, Encoded, Model, ModelFacts
from safa_stream.scene import WeightedPrompt
from safa_stream.solvers import SolverTable
from safa_stream.types import Array, FloatArray

#: Between the decoder seeds of neighbouring groups; scenes' own seeds, and those of views, do not meet them.
_SEEDS_APART = 998_244_353


def grouped(model: Model, channels: int) -> Model:
    """The model with so many channels; as it is where it has them. Raises UsageError where that many cannot be."""
    if not 1 <= channels <= LARGEST_CHANNELS:
        raise UsageError(f"a sound has 1 to {LARGEST_CHANNELS} channels, not {channels}")
    return model if channels <= model.facts.channels else GroupedModel(plain(model), channels)


def plain(model: Model) -> Model:
    """The model that is asked: of a grouped one, the one that it is made of."""
    return model.plain if isinstance(model, GroupedModel) else model


def spread(rows: Array, groups: int, once: int = 0) -> Array:
    """[R, G C, ...] as [(R - once) G + once, C, ...]: every group a row of its own; of the last rows the first only."""
    if groups == 1:
        return rows
    xp, shape, own = array_api_compat.array_namespace(rows), tuple(rows.shape), int(rows.shape[0]) - once
    channels = shape[1] // groups
    parted = xp.reshape(rows[:own], (own * groups, channels, *shape[2:]))
    return xp.concat([parted, rows[own:, :channels]]) if once else parted


def gathered(rows: Array, groups: int, once: int = 0) -> Array:
    """The way back: [R, G C, ...], in the last rows the same for every group."""
    if groups == 1:
        return rows
    xp, shape, own = array_api_compat.array_namespace(rows), tuple(rows.shape), int(rows.shape[0]) - once
    whole = xp.reshape(rows[:own], (own // groups, groups * shape[1], *shape[2:]))
    return xp.concat([whole, xp.concat([rows[own:]] * groups, axis=1)]) if once else whole


def each(rows: Array, groups: int, once: int = 0) -> Array:
    """[R, ...] as [(R - once) G + once, ...]: what a row is told, its groups are."""
    if groups == 1:
        return rows
    xp, own = array_api_compat.array_namespace(rows), int(rows.shape[0]) - once
    told = xp.repeat(rows[:own], groups, axis=0)
    return xp.concat([told, rows[own:]]) if once else told


def asked(
    groups: int,
    once: int,
    latents: Array,
    timesteps: Array,
    conditioning: Conditioning,
    negative: Conditioning,
    guidance: Array,
    context: Array | None = None,
    known: Array | None = None,
) -> tuple[Array, Array, Conditioning, Conditioning, Array, Array | None, Array | None]:
    """What a model without groups is asked for rows of so many groups: what `Denoiser.denoise` takes, in its order.

    once: so many last rows are alike in all groups, as references are, and asked for once.
    """
    told = [
        Conditioning({name: each(tensor, groups, once) for name, tensor in rows.tensors.items()})
        for rows in (conditioning, negative)
    ]
    return (
        spread(latents, groups, once),
        each(timesteps, groups, once),
        told[0],
        told[1],
        each(guidance, groups, once),
        None if context is None else spread(context, groups, once),
        None if known is None else each(known, groups, once),
    )


class GroupedModel:
    """See the module. `plain`: the model that it is made of."""

    def __init__(self, model: Model, channels: int) -> None:
        self.plain = model
        own = model.facts
        groups = -(-channels // own.channels)
        self.facts: ModelFacts = replace(
            own, channels=channels, latent_channels=groups * own.latent_channels, groups=groups
        )

    @property
    def backend(self) -> Backend:
        """What its networks run on."""
        return self.plain.backend

    def encode(self, prompts: Sequence[WeightedPrompt], negative: Sequence[WeightedPrompt], seed: int) -> Encoded:
        """One row, which all groups are told."""
        return self.plain.encode(prompts, negative, seed)

    def solver(self, steps: int) -> SolverTable:
        """The model's own."""
        return self.plain.solver(steps)

    def decoder(self) -> Decoder:
        """The model's, once for every group."""
        return GroupedDecoder(self.plain.decoder(), self.facts.groups, self.facts.channels)

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
        """As the model does, every group of a row a row of its batch."""
        rows = asked(self.facts.groups, 0, latents, timesteps, conditioning, negative, guidance, context, known)
        return gathered(self.plain.denoise(*rows), self.facts.groups)

    def from_numpy(self, array: Array) -> Array:
        """Into the model's array world."""
        return self.plain.from_numpy(array)

    def to_numpy(self, array: Array) -> FloatArray:
        """Out of the model's array world."""
        return self.plain.to_numpy(array)

    def require_open(self, method: str) -> None:
        """Raises ModelError: MAD and SyncDiffusion reach into the views of one sound."""
        raise ModelError(f"method {method} makes no more than the model's {self.plain.facts.channels} channel(s)")

    def merging(
        self, starts: Sequence[int], view: int, width: int, timestep: float, merge_self: bool
    ) -> AbstractContextManager[object]:
        """The model's own."""
        return self.plain.merging(starts, view, width, timestep, merge_self)

    def likeness(self, network: Path | None) -> Any:
        """The model's own."""
        return self.plain.likeness(network)

    def memory(self) -> AbstractContextManager[None]:
        """The model's own."""
        return self.plain.memory()


@dataclass(frozen=True, slots=True)
class GroupedDecoder:
    """One decoder, used for every group with a seed of its own. Its state is of the decoder's own kind, with a row of
    every array, and of every number, for each group."""

    plain: Decoder
    groups: int
    channels: int

    @property
    def halo(self) -> int:
        """The decoder's own."""
        return self.plain.halo

    @property
    def samples_per_frame(self) -> int:
        """The decoder's own."""
        return self.plain.samples_per_frame

    def start(self, seed: int) -> DecoderState:
        """The state before frame 0."""
        return _stacked([self.plain.start(_seed(seed, group)) for group in range(self.groups)])

    def decode(
        self, window: FloatArray, before: int, after: int, first_frame: int, seed: int, state: DecoderState
    ) -> tuple[DecoderState, FloatArray]:
        """Sound [channels, n * samples_per_frame] of latents [G C, before + n + after, F]."""
        states, sounds = [], []
        for group, (latents, own) in enumerate(
            zip(np.split(window, self.groups), _parted(state, self.groups), strict=True)
        ):
            own, pcm = self.plain.decode(latents, before, after, first_frame, _seed(seed, group), own)
            states.append(own)
            sounds.append(pcm)
        return _stacked(states), np.concatenate(sounds)[: self.channels]


def _seed(seed: int, group: int) -> int:
    return seed + group * _SEEDS_APART


def _stacked(states: Sequence[DecoderState]) -> DecoderState:
    """States of one kind as one of that kind, each field with a leading axis of groups."""
    names = [field.name for field in dataclasses.fields(states[0])]
    return replace(states[0], **{name: np.stack([np.asarray(getattr(one, name)) for one in states]) for name in names})


def _parted(state: DecoderState, groups: int) -> list[DecoderState]:
    """What `_stacked` put together; a number is a number again."""
    names = [field.name for field in dataclasses.fields(state)]
    return [replace(state, **{name: _plain(getattr(state, name)[group]) for name in names}) for group in range(groups)]


def _plain(value: Any) -> Any:
    return value if np.ndim(value) else np.asarray(value).item()
