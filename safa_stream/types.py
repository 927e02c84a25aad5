"""Values that every layer hands to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: An array of any Array API library (numpy, torch); docstrings give its shape letters: B rows of a batch, C channels,
#: T time frames, F frequency bins, S solver steps, O overlap frames.
Array = Any
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A piece of sound: `samples` [channels, N] from absolute sample `start` on, number `sequence` of its stream."""

    samples: FloatArray
    start: int
    sequence: int
    sample_rate: int
    generation_seconds: float

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return float(self.samples.shape[-1] / self.sample_rate)
