"""Independent views: each is a sound of its own, and only the sounds are cross-faded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safa_stream.evaluation.continuation.ground import Ground
from safa_stream.evaluation.continuation.outpainting import paint
from safa_stream.models.interface import Encoded
from safa_stream.types import Array


@dataclass(slots=True, eq=False)
class Apart:
    """Views that share nothing; each call gives a whole one, [C, L, F], to be faded over the overlap."""

    ground: Ground
    index: int = 0

    def advance(self, told: Encoded) -> Array:
        """The next view, from noise that no other has."""
        layout = self.ground.layout
        made = paint(self.ground, self.index * (layout.view + layout.hop), None, told)
        self.index += 1
        return made

    def flush(self) -> Array:
        """Views are given whole."""
        return self.ground.noise("view", 0, 0)

    @property
    def begun(self) -> int:
        return self.ground.layout.overlap

    @property
    def held(self) -> Sequence[Array]:
        return []
