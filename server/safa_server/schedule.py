"""What the engine works on next: earliest deadline first, and changes in the time that the deadlines leave.

A layer that is heard runs dry when what it has ahead has been played: its deadline. By deadlines alone a change would
wait for views that have seconds to spare; with changes first, somebody's changes would make everybody else run dry. So
they go first as long as there is slack: time that can be taken from all deadlines without missing one (slack stealing,
Lehoczky and Ramos-Thuel, RTSS 1992). The deadlines of a session that throws its views away are put off (fairness.py).
Decoding is work like a step. Pure: the runner says what is wanted, and does what is found here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: A view is to be ready when this share of what its layer has ahead is still left, and so many seconds: the machine may
#: be busy with something else for a moment.
SPARE_SHARE, SPARE_SECONDS = 0.4, 1.5
#: What has no deadline in common with the most urgent view may slow it by this share of its remaining work.
SHARED = 0.25
#: Who goes first, within what the deadlines allow.
FIRST, NEXT, PULLED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Need:
    """What one layer wants of the engine: its next view.

    deadline: seconds until it runs dry, later where its session threw sound away; heard: whether it plays; waits: for
    its first sound, or for a change right after the playhead, which comes before what others need later; live: its
    clock does not wait. steps, rows: solver steps that are left and rows of a batch that each takes; 0 steps: only the
    decoding is left. work: engine seconds to the sound.
    """

    deadline: float
    work: float
    heard: bool = True
    waits: bool = False
    live: bool = True
    steps: int = 1
    rows: int = 1

    @property
    def bound(self) -> bool:
        """Whether it has a deadline."""
        return self.live and self.heard


@dataclass(frozen=True, slots=True)
class Plan:
    """Needs by their numbers. order: the most urgent first; slack: by need, seconds that its deadline leaves when
    everything due before it is done first, infinite where there is none; tight: nothing is left for changes."""

    order: tuple[int, ...]
    slack: tuple[float, ...]
    tight: bool


def plan(needs: Sequence[Need], unit: float) -> Plan:
    """Who is served first. unit: seconds of the longest piece of work that cannot be interrupted."""
    slack, demand = [math.inf] * len(needs), 0.0
    for number in sorted((n for n, need in enumerate(needs) if need.bound), key=lambda n: needs[n].deadline):
        demand += needs[number].work
        deadline = needs[number].deadline
        slack[number] = deadline - max(SPARE_SECONDS, SPARE_SHARE * deadline) - demand
    tight = min(slack, default=math.inf) < unit

    def rank(number: int) -> tuple[int, float]:
        need = needs[number]
        first = need.heard if tight else need.waits
        return (FIRST if first else NEXT) if need.live else PULLED, need.deadline

    return Plan(tuple(sorted(range(len(needs)), key=rank)), tuple(slack), tight)


def before(needs: Sequence[Need], found: Plan, number: int) -> float:
    """Engine seconds of work that goes before a need."""
    return sum(needs[other].work for other in found.order[: found.order.index(number)])


def together(needs: Sequence[Need], found: Plan, able: Sequence[int], row_seconds: float, largest: int) -> list[int]:
    """Whose steps share a batch with those of the first of `able`, without making anybody late.

    able: numbers of needs whose next step may be made together, in the plan's order; row_seconds: what a row adds to a
    batch's step; largest: most rows of a batch.
    """
    head, rows, taken = needs[able[0]], needs[able[0]].rows, 0.0
    chosen = [able[0]]
    for number in able[1:]:
        need = needs[number]
        cost = taken + need.rows * row_seconds
        if rows + need.rows > largest:
            continue
        # Work that is due before others is in their slack already.
        late = any(
            slack < cost
            for other, slack in enumerate(found.slack)
            if other != number and not (need.bound and needs[other].deadline >= need.deadline)
        )
        alike = need.bound and head.bound and not head.waits
        if late or (not alike and head.steps * cost > SHARED * head.work):
            continue
        chosen.append(number)
        rows, taken = rows + need.rows, cost
    return chosen
