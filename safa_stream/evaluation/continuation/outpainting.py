"""Outpainting: a view's first frames are known, and at every step they are written in at that step's noise level.

RePaint (arXiv 2201.09865, Algorithm 1) on a line of views. The network sees the known frames in noise that is drawn
anew at every step; with `again`, each step is taken back and made again so often, so that both sides come to agree.
With `context` a model that takes finished frames is told them besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import array_api_compat

from safa_stream.evaluation.continuation.ground import Ground
from safa_stream.models.interface import Encoded
from safa_stream.solvers import step
from safa_stream.types import Array


@dataclass(slots=True, eq=False)
class Outpainting:
    """Views that each know their overlap with the one before; a view gives all its frames at once."""

    ground: Ground
    again: int = 0
    context: bool = False
    index: int = 0
    end: Array | None = None

    def advance(self, told: Encoded) -> Array:
        """The first view, then the new frames of every further one: a hop."""
        layout = self.ground.layout
        first = self.index * layout.hop
        made = paint(self.ground, first, self.end, told, self.again, self.context)
        fresh = made if self.end is None else made[:, layout.overlap :]
        self.index += 1
        self.end = made[:, layout.hop :] + 0.0
        return fresh

    def flush(self) -> Array:
        """Nothing is held back."""
        assert self.end is not None
        return self.end[:, :0]

    @property
    def begun(self) -> int:
        return 0

    @property
    def held(self) -> Sequence[Array]:
        return [] if self.end is None else [self.end]


def paint(
    ground: Ground, first: int, past: Array | None, told: Encoded, again: int = 0, context: bool = False
) -> Array:
    """A view [C, L, F] from frame `first` on, whose first frames are `past` [C, K, F], 0 <= K <= L."""
    table, x = ground.table, ground.noise("view", first, ground.layout.view)[None]
    count = 0 if past is None else int(past.shape[1])
    whole = given = None
    if past is not None and context and ground.model.facts.takes_context:
        whole, given = x * 0.0, x[:, 0, :, 0] * 0.0
        whole[0, :, :count], given[0, :count] = past, 1.0
    h = x * 0.0 if table.multistep else None
    for index in range(table.steps):
        # Neither out of pure noise, which remembers nothing, nor after the last step can a step be taken back.
        times = again if past is not None and 0 < index < table.steps - 1 else 0
        for attempt in range(times + 1):
            x, h = _written(ground, x, h, past, index, f"known {first} {index} {attempt}", first)
            m = ground.denoise(x, [index], told, whole, given)
            after, clean = step(table.row(index), x, m, h)
            if attempt < times:
                x = ground.renoised(after[0], index + 1, index, f"again {first} {index} {attempt}", first)[None]
        x, h = after, clean if table.multistep else None
    return _written(ground, x, h, past, table.steps, "", first)[0][0]


def _written(
    ground: Ground, x: Array, h: Array | None, past: Array | None, index: int, purpose: str, first: int
) -> tuple[Array, Array | None]:
    """States and history [1, C, L, F] before step `index` with the known frames at its noise level."""
    if past is None:
        return x, h
    xp, count, steps = array_api_compat.array_namespace(x), int(past.shape[1]), ground.table.steps
    shown = past if index == steps else ground.renoised(past, steps, index, purpose, first)
    joined = xp.concat([shown[None], x[:, :, count:]], axis=2)
    return joined, None if h is None else xp.concat([past[None], h[:, :, count:]], axis=2)
