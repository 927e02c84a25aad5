"""What is known of one session's commands and views while they are on their way: which view answers which command."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from opentelemetry.trace import Span, SpanContext

from safa_stream.session import messages as m
from safa_stream.session.work import Work

#: Commands of a session that wait for their view, and blocks that are waited for; more of them than anybody follows.
MOST_WAITING = 64
#: Commands that views answer; those that the next block does; others are answered at once.
OF_VIEWS = (m.Prompt, m.AddLayer, m.Reseed, m.Reanchor, m.Configure, m.Rewind, m.RecallScene)
OF_BLOCKS = (m.Mix, m.RemoveLayer)


@dataclass(slots=True, eq=False)
class Asked:
    """A command, or an open, that waits for its views. command, number: None and 0 of an open; layers: those whose next
    views answer it."""

    span: Span
    at: int
    layers: set[int]
    command: m.Command | None = None
    number: int = 0

    def wants(self, work: Work, told: Collection[int]) -> bool:
        """Whether a view that is begun now answers it. told: numbers of the waiting commands that it is told of."""
        command = self.command
        if work.layer not in self.layers:
            return False
        if command is not None and (command.at is not None or command.quantise is not None):
            return self.number in told
        return work.base.views.index == 0 or not isinstance(command, m.AddLayer)

    def answered(self, work: Work) -> None:
        """It has been, in a view's layer."""
        if isinstance(self.command, m.AddLayer):
            self.layers.clear()
        self.layers.discard(work.layer)


@dataclass(slots=True)
class Making:
    """A view in the making: what it answers, from which sample on (where that waits), and its steps so far."""

    began: int
    asked: list[Asked]
    told: dict[int, int]
    first_step: int = 0
    last_step: int = 0
    rows: list[int] = field(default_factory=list)
    views: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Due:
    """What is heard from a sample on: the span that its block belongs to, and since when it waits."""

    sample: int
    parent: Span
    since: int


@dataclass(slots=True)
class Journey:
    """What is known of one session. told: by layer, the command that it was last told by; blocks: spans whose block
    with number `sequence` has just left."""

    asked: deque[Asked] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    making: dict[Work, Making] = field(default_factory=dict)
    due: deque[Due] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    told: dict[int, SpanContext] = field(default_factory=dict)
    sequence: int = -1
    blocks: list[Span] = field(default_factory=list)


def answered(journey: Journey, work: Work, told: Collection[int], opens: bool = False) -> list[Asked]:
    """What a view that is begun now answers, where `opens` of opens alone; who has had all answers waits no more."""
    among = [asked for asked in journey.asked if asked.command is None or not opens]
    found = [asked for asked in among if asked.wants(work, told)]
    for asked in found:
        asked.answered(work)
        if not asked.layers:
            journey.asked.remove(asked)
    return found


def ask_again(journey: Journey, asked: list[Asked], work: Work) -> None:
    """The view that is made in the place of one that was thrown away answers what that was to answer."""
    for one in reversed(asked):
        one.layers.add(work.layer)
        if one not in journey.asked:
            journey.asked.appendleft(one)


def main_of(asked: list[Asked], making: Making) -> Asked | None:
    """The command in whose trace a view is: the last that did not wait, else the last, None where nobody asked."""
    return next((one for one in reversed(asked) if one.number not in making.told), asked[-1] if asked else None)
