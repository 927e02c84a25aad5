"""What is to be exported: graphs with named inputs and free axes, and the source that they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from safa_stream.models.backends.graphs import Arrays
from safa_stream.types import FloatArray

if TYPE_CHECKING:
    from safa_stream.models.pretrained.checkpoint import Checkpoint

#: Named arrays in, the first output back: how a part runs, whatever runs it.
Part = Callable[[Arrays], FloatArray]


@dataclass(frozen=True, slots=True)
class Axis:
    """A free dimension. Sizes are `multiple * n` with n from `least` to `most`; axes of one name are of one size."""

    name: str
    least: int = 1
    most: int = 64
    multiple: int = 1


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph: how its module is made, examples of its inputs, and which of their dimensions are free.

    module: makes a torch module in eval mode, single precision, whose `forward` takes the inputs by position, in the
    order of `inputs`, and returns one tensor; called only when it is needed, as some fill the memory. inputs: example
    arrays. axes: by input, dimension to axis; dimensions not named are fixed. ready: a file that holds the graph, if
    it is always of single precision and made already.
    """

    name: str
    module: Callable[[], Any]
    inputs: Mapping[str, npt.NDArray[Any]]
    output: str
    axes: Mapping[str, Mapping[int, Axis]]
    ready: Path | None = None


@dataclass(frozen=True, slots=True)
class About:
    """Where graphs come from. digest: SHA-256 over the configuration and weight files, in the order of their names."""

    kind: str
    name: str
    licence: str
    digest: str
    sample_rate: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, kind: str, sample_rate: int) -> About:
        """Of a checkpoint directory; reads every weight file."""
        return cls(kind, checkpoint.folder.resolve().name, checkpoint.licence, checkpoint.digest(), sample_rate)


@dataclass(frozen=True, slots=True)
class Sampling:
    """A trajectory to compare: solver steps, guidance, seed, length in latent frames, batch rows."""

    steps: int = 4
    guidance: float = 3.5
    seed: int = 0
    frames: int | None = None
    rows: int = 1


class Source(Protocol):
    """A model whose parts can be exported."""

    @property
    def about(self) -> About: ...

    def graphs(self) -> Sequence[Graph]:
        """Its parts in the order in which they run. Nothing is loaded yet."""
        ...

    def sample(self, parts: Mapping[str, Part], sampling: Sampling) -> FloatArray:
        """Sound [rows, channels, N] (or what comes nearest) of a whole trajectory, every network call made by `parts`.

        Deterministic: the same parts and sampling give the same sound. Where the model is told a text, random
        embeddings of the seed stand for it.
        """
        ...
