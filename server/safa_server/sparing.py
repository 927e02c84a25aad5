"""Values that change all the time, said sparingly: when they have moved enough, and not too soon after the last time.

A game has a new distance to the fire in every picture, a sensor a new reading every few milliseconds; a session wants
to hear of it now and then, with a ramp in between. Pure; the caller has the clock.

    sparing = Sparing(every=0.1, least=0.5)
    if sparing.due("fire", gain, now):
        await client.send(Mix(layer=1, gain=gain, ramp=sparing.every))
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Said:
    """A value and when it was said, seconds."""

    value: float
    at: float


def worth_saying(value: float, now: float, last: Said | None, every: float, least: float) -> bool:
    """Whether a value is to be said: the first one is, later ones once they have moved by `least` and `every` seconds
    have passed."""
    return last is None or (now - last.at >= every and abs(value - last.value) >= least)


@dataclass(slots=True)
class Sparing:
    """Remembers what was said under each name. A value that stays is said in the end, to within `least`, as long as the
    caller keeps asking."""

    every: float
    least: float
    _said: dict[Hashable, Said] = field(default_factory=dict)

    def due(self, name: Hashable, value: float, now: float) -> bool:
        """Whether to say a value now; if so it counts as said."""
        if not worth_saying(value, now, self._said.get(name), self.every, self.least):
            return False
        self._said[name] = Said(value, now)
        return True

    def forget(self, name: Hashable) -> None:
        """Say the next value whatever it is: what it was said to is gone."""
        self._said.pop(name, None)
