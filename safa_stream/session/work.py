"""A view in the making: the order that says what it is made of, and what there is of it so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from safa_stream.models.interface import Decoder, Model
from safa_stream.session import sound as sounds
from safa_stream.session.levels import Leveller
from safa_stream.session.sound import Making, Sound
from safa_stream.session.timeline import Turn
from safa_stream.stream import Made, View
from safa_stream.types import DoubleArray


class Aim(Enum):
    """Where the next view goes: after the last, just after the playhead, or to what was heard before."""

    NEXT = "next"
    CUT = "cut"
    BACK = "back"


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What one view of a layer is made of. Decided when it is begun; nothing that is said later alters it.

    frame: where it goes on: at a cut's frame, or with the take that holds a frame (for a view that follows the last,
    that view's end); told: turns with their weights, or with
    their weights [L] at each of the view's frames; hop: frames that it adds; seed: of its noise; ratio: share of the
    steps that take in the reference; cut_at: as of its layer then.
    """

    layer: int
    aim: Aim
    frame: int
    told: tuple[tuple[Turn, float], ...] | tuple[tuple[Turn, DoubleArray], ...]
    making: Making
    hop: int
    seed: int
    ratio: float
    cut_at: int | None = None


@dataclass(slots=True, eq=False)
class Work:
    """A view of one layer in the making. The engine steps `view`; `finish` then decodes it, without the session.

    foretold: from which frame on it is told of commands that still wait, by their numbers.
    """

    order: Order
    view: View
    base: Sound
    decoder: Decoder
    leveller: Leveller
    model: Model
    foretold: dict[int, float] = field(default_factory=dict)

    @property
    def layer(self) -> int:
        """Its layer's number."""
        return self.order.layer

    @property
    def aim(self) -> Aim:
        """Where it goes."""
        return self.order.aim

    @property
    def making(self) -> Making:
        """What it is made with."""
        return self.order.making

    @property
    def end(self) -> int:
        """The frame after the last that will be final."""
        return self.view.frame + self.view.hop

    def told_with(self, before: Mapping[int, float]) -> dict[int, float]:
        """What the layer's sound will have been told ahead once the view is there; `before`: what it has been."""
        if self.aim is not Aim.NEXT:
            return dict(self.foretold)
        return self.foretold | {number: frame for number, frame in before.items() if frame < self.view.frame}

    def finish(self) -> Finished:
        """Decode what the view added; called once all its steps are made."""
        made: Made = self.view.finish()
        latents = self.model.to_numpy(made.hop)
        after = sounds.pushed(self.base, self.decoder, self.leveller, made, latents, self.making)
        return Finished(self, after)


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A view that is decoded: the layer's sound with it."""

    work: Work
    sound: Sound
