"""What a model of pictures is: latents whose time axis T is the width and whose bins F are the height, and no sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from safa_stream.models.interface import Encoded, OpenDenoiser
from safa_stream.scene import WeightedPrompt
from safa_stream.solvers import SolverTable
from safa_stream.types import Array

#: A picture [height, width, 3], red, green and blue.
Pixels = npt.NDArray[np.uint8]
#: Called after every window that was decoded with how many are done and how many there are.
Decoded = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a model fixes at one height. A latent column stands for `scale` columns of pixels, a bin for as many rows.

    view_frames: the width that it was trained on. alignment: widths of views are multiples of so many columns.
    largest: latent columns or rows that a view has at most, None where any number is taken.
    decoder_halo: columns on each side that one decoded column depends on, attention and normalisation aside.
    """

    name: str
    licence: str
    latent_channels: int
    latent_bins: int
    view_frames: int
    alignment: int
    largest: int | None
    scale: int
    default_steps: int
    default_guidance: float
    default_overlap: float
    decoder_halo: int

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.latent_bins * self.scale


class ImageModel(OpenDenoiser, Protocol):
    """A model that can make panoramas, of pictures of one height. It remembers nothing between calls."""

    @property
    def facts(self) -> ImageFacts: ...

    def at_height(self, pixels: int) -> ImageModel:
        """The same model for pictures of that height. Raises LayoutError where it cannot make them."""
        ...

    def encode(self, prompts: Sequence[WeightedPrompt], negative: Sequence[WeightedPrompt]) -> Encoded:
        """Words to one conditioning row and its negative; unknown words are those past what the model can read."""
        ...

    def solver(self, steps: int) -> SolverTable:
        """The checkpoint's sampler with so many network evaluations."""
        ...

    def decode(self, latents: Array, circular: bool, report: Decoded | None = None) -> Pixels:
        """The picture [F * scale, T * scale, 3] of latents [C, T, F]; circular: its right end goes on at its left."""
        ...
