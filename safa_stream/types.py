"""Values that every layer hands to the next."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

#: An array of any Array API library (numpy, torch); docstrings give its shape letters: B rows of a batch, C channels,
#: T time frames, F frequency bins, S solver steps, O overlap frames.
Array = Any
Result = TypeVar("Result")
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


#: Long work in short steps: it yields after each, so that others come in between, and returns what it made.
Steps = Generator[None, None, Result]


def finished(steps: Steps[Result]) -> Result:
    """All of the work at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Result = end.value
            return made
