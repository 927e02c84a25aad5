"""Blocks of sound as they leave a session: what is in them, and the numbers of what made them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from safa_stream.errors import UsageError
from safa_stream.session.session import Session
from safa_stream.session.tempo import Grid
from safa_stream.types import FloatArray

#: Samples of a block that leaves a session: 20 ms at 48 kHz.
BLOCK = 960
LARGEST_PROVENANCE = 256
#: The number of blocks of which it is not known (any more) what made them.
UNKNOWN = 0


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """What left a session: `samples` [channels, BLOCK] from sample `start` on; `provenance`: what made it; `grid`:
    which beat is heard at which of them; layers: those that somebody hears by themselves, in the same way."""

    samples: FloatArray
    start: int
    sequence: int
    clock_ns: int
    provenance: int
    grid: Grid
    layers: Mapping[int, FloatArray] = field(default_factory=dict)

    def of(self, layer: int | None) -> FloatArray:
        """A layer's sound, or with None that of all."""
        return self.samples if layer is None else self.layers[layer]


class Blocks:
    """A session, block by block. For one caller at a time, who holds the session's lock where others use it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        #: Numbers go up with every change and are at most one a block: those of a session that was restored begin
        #: behind all that were given before.
        self._number, self._described = session.state.sequence, ""
        self._provenances: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def next(self, apart: Collection[int] = ()) -> Block:
        """The next block leaves. apart: layers that are wanted by themselves, too."""
        chunk, layers = self.session.read_apart(BLOCK, apart)
        return Block(
            chunk.samples,
            chunk.start,
            chunk.sequence,
            time.monotonic_ns(),
            self._provenance(),
            self.session.heard_grid,
            layers,
        )

    def provenance(self, number: int) -> dict[str, Any]:
        """What made the blocks that carry a number. Raises UsageError where it is forgotten or never was."""
        if number not in self._provenances:
            raise UsageError(f"provenance {number} is not known (any more)")
        return self._provenances[number]

    def _provenance(self) -> int:
        """The number of what makes the present block; a new one when that has changed."""
        made = self.session.provenance()
        key = repr(made)
        if key != self._described:
            self._described = key
            self._number += 1
            self._provenances[self._number] = made
            while len(self._provenances) > LARGEST_PROVENANCE:
                self._provenances.popitem(last=False)
        return self._number


@dataclass(frozen=True, slots=True)
class Resumed:
    """A session that was on the air before. past: the latest blocks that left it then; playing: whether its clock ran;
    due: the sample that ought to leave about now, where that is known: the clock catches up; once: numbers of commands
    that must not be carried out again, by their names."""

    blocks: Blocks
    past: tuple[Block, ...] = ()
    playing: bool = True
    due: int | None = None
    once: Mapping[str, int] = field(default_factory=dict)
