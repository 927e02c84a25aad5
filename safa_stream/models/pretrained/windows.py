"""Decoders without memory: each new frame is decoded with `halo` frames of context on both sides, then cut out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from safa_stream.models.pretrained.computing import Computing, to_numpy
from safa_stream.types import FloatArray

#: Latents [1, C, T, F] and how many frames at both ends are context, to sound [channels, n * samples_per_frame] of the
#: n frames between.
Sounding = Callable[[Tensor, int, int], Tensor]


@dataclass(frozen=True, slots=True)
class NoState:
    """What a decoder remembers that has no memory."""


@dataclass(frozen=True, slots=True)
class WindowDecoder:
    """The `Decoder` of models whose decoder is a network of limited reach. It uses no chance.

    halo: frames of context with which decoding in pieces equals decoding whole, within what the family states.
    """

    sounding: Sounding
    halo: int
    samples_per_frame: int
    computing: Computing

    def start(self, seed: int) -> NoState:
        """There is nothing to remember."""
        return NoState()

    def decode(
        self, window: FloatArray, before: int, after: int, first_frame: int, seed: int, state: NoState
    ) -> tuple[NoState, FloatArray]:
        """Sound [channels, n * samples_per_frame] of n frames, given in `window` [C, before + n + after, F]."""
        with self.computing.running():
            sound = to_numpy(self.sounding(self.computing.tensor(window[None]), before, after))
        wanted = (window.shape[1] - before - after) * self.samples_per_frame
        assert sound.shape[-1] == wanted, (sound.shape, wanted)
        return state, np.ascontiguousarray(sound)
