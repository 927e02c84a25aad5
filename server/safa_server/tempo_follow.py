"""Following a tempo from outside: what to tell a session so that its beats are the leader's. Pure.

    the leader's clock   beat and tempo at any moment of this machine's monotonic clock
    the session's clock  its next sample is heard at a moment: when it leaves, and what the way to the ear adds

The session is told its beat again only where it is off by more than can be heard as such: a grid that is nudged at
every look would never let what waits for its lines stand still.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from safa_stream.session.messages import Tempo
from safa_stream.session.tempo import FASTEST, SLOWEST, Grid

#: What a session may be off by: seconds, and a share of its tempo.
NEAR_SECONDS, NEAR_TEMPO = 0.003, 0.0005


@dataclass(frozen=True, slots=True)
class Reading:
    """A leader at a moment. playing: None where it says nothing of that."""

    bpm: float
    beat: float
    playing: bool | None = None


class Leader(Protocol):
    """Who leads: a Link session, a MIDI clock."""

    def reading(self, at_ns: int, quantum: float) -> Reading | None:
        """The leader at a moment of the monotonic clock, None while there is none. quantum: beats of a bar."""
        ...

    def offer(self, bpm: float) -> None:
        """The tempo of the server's first session, for who has none to follow."""
        ...


def correction(grid: Grid, position: int, reading: Reading) -> Tempo | None:
    """What to tell a session whose next sample, `position`, is to be on the reading's beat; None where it is near."""
    bpm = min(max(reading.bpm, SLOWEST), FASTEST)
    late = abs(reading.beat - grid.beat(position)) * 60 / bpm
    if late <= NEAR_SECONDS and abs(bpm - grid.bpm) <= NEAR_TEMPO * grid.bpm:
        return None
    return Tempo(bpm=bpm, beat=reading.beat)
