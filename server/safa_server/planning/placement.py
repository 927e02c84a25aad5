"""Which engine gets a session, and how many engines there should be: rules that a simulation compares. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Free room of every engine (0 where it takes none) and what is wanted, to the engine's number; None where none fits.
Rule = Callable[[npt.NDArray[np.float64], float], int | None]


def first_fit(free: npt.NDArray[np.float64], wanted: float) -> int | None:
    """The first that has room: engines at the end stay empty and can be let go."""
    if not len(free):
        return None
    number = int(np.argmax(free >= wanted))
    return number if free[number] >= wanted else None


def least_loaded(free: npt.NDArray[np.float64], wanted: float) -> int | None:
    """The one with the most room: whoever is lost had the least, and views come soonest."""
    if not len(free):
        return None
    number = int(np.argmax(free))
    return number if free[number] >= wanted else None


RULES: dict[str, Rule] = {"first fit": first_fit, "least loaded": least_loaded}


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many engines there should be. fill: of their room, before there are more; spare: engines beyond that, to lose
    one; patience: seconds that fewer have to be enough before one is let go; least: there always are."""

    fill: float = 0.8
    spare: int = 1
    patience: float = 600.0
    least: int = 2

    def wanted(self, used: float, room: float) -> int:
        """Engines for what is used now, each with so much room."""
        return max(self.least, math.ceil(used / (self.fill * room)) + self.spare)
