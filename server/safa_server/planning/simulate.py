"""A day of many sessions on engines that come, go and fail, event by event. Deterministic for a seed; no clock, no I/O.

arrive   a session of some layers, by the hour's rate; placed by a rule, or refused
leave    its time is over
fail     an engine and all on it: its sessions go on elsewhere, one after the other; those without room are lost
look     scaling: engines are started, and take sessions when they are ready; empty ones are let go, or emptied by
         moving what is on them (rebalancing)
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from safa_server.planning.placement import RULES, Scaling
from safa_stream.errors import UsageError

DAY = 86_400.0
#: Scaling looks so often, seconds; the plot has a point as often as MINUTES.
LOOK_SECONDS, POINT_SECONDS = 10.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is simulated.

    sessions: mean of a day; swing: how much more (less) at the busiest (quietest) hour, 0 to 1; minutes: mean length,
    exponential; costs: kinds of sessions as (CPU, how likely); room: CPU of an engine that sessions may use; largest:
    engines at most; start_seconds: until a new engine takes sessions; lead: seconds of sound that a session has ahead;
    detect_seconds: until it is known that an engine failed; restore_seconds: of each session that goes on, done one
    after the other on each engine that takes some; mean_days: between failures of an engine.
    """

    sessions: float
    room: float
    costs: tuple[tuple[float, float], ...]
    swing: float = 0.6
    minutes: float = 30.0
    largest: int = 100_000
    start_seconds: float = 60.0
    lead: float = 8.0
    detect_seconds: float = 2.0
    restore_seconds: float = 0.3
    mean_days: float = 30.0
    rule: str = "least loaded"
    scaling: Scaling = Scaling()
    days: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UsageError(f"known rules of placement are {', '.join(RULES)}, not {self.rule!r}")
        if max(cost for cost, _ in self.costs) > self.room:
            raise UsageError("an engine has less room than its largest session takes")

    def rate(self, at: float) -> float:
        """Sessions a second that come; the quietest hour is the first."""
        mean = self.sessions / (60 * self.minutes)
        return mean * (1 - self.swing * math.cos(2 * math.pi * at / DAY))


@dataclass(slots=True)
class Day:
    """What happened. late_seconds: sound that was late, of all sessions; engine_seconds: that engines ran; points:
    (seconds, sessions, engines, refused since the last point)."""

    came: int = 0
    refused: int = 0
    failures: int = 0
    failed_over: int = 0
    lost: int = 0
    late: int = 0
    late_seconds: float = 0.0
    moved: int = 0
    most_sessions: int = 0
    most_engines: int = 0
    engine_seconds: float = 0.0
    used_seconds: float = 0.0
    points: list[tuple[float, int, int, int]] = field(default_factory=list)

    def figures(self, room: float) -> dict[str, Any]:
        """As JSON values."""
        return {
            "sessions_came": self.came,
            "sessions_most": self.most_sessions,
            "refused_share": self.refused / max(1, self.came),
            "engines_most": self.most_engines,
            "engine_hours": self.engine_seconds / 3600,
            "filled": self.used_seconds / max(1e-9, self.engine_seconds * room),
            "failures": self.failures,
            "failed_over": self.failed_over,
            "lost": self.lost,
            "late_sessions": self.late,
            "late_seconds": self.late_seconds,
            "moved": self.moved,
        }


class Simulation:
    """One run; see `simulated`. Engines have numbers; `_free` is minus infinity where one takes nothing."""

    def __init__(self, world: World) -> None:
        self._world, self._day = world, Day()
        self._chance = random.Random(world.seed)
        self._events: list[tuple[float, int, str, int, int]] = []
        self._order = itertools.count()
        self._free = np.full(0, -math.inf)
        self._on: list[dict[int, float]] = []
        #: How often each engine's number was opened or let go: events of an earlier life mean nothing.
        self._lives: list[int] = []
        self._where: dict[int, int] = {}
        self._ready_at: dict[int, float] = {}
        self._used, self._running, self._at, self._refused_before = 0.0, 0, 0.0, 0
        self._enough_since = 0.0
        for _ in range(world.scaling.wanted(world.rate(0) * 60 * world.minutes * self._mean_cost(), world.room)):
            self._open(self._add(0.0), 0.0)

    def run(self) -> Day:
        """To the end of the last day."""
        world, end = self._world, self._world.days * DAY
        self._later(self._gap(0.0), "arrive")
        self._later(LOOK_SECONDS, "look")
        self._later(0.0, "point")
        while self._events and self._events[0][0] < end:
            at, _, what, number, life = heapq.heappop(self._events)
            self._pass(at)
            match what:
                case "arrive":
                    if self._chance.random() < world.rate(at) / self._peak():
                        self._arrive(at)
                    self._later(self._gap(at), "arrive")
                case "leave":
                    self._leave(number)
                case "fail":
                    if life == self._lives[number]:
                        self._fail(number)
                case "ready":
                    self._open(number, at)
                case "look":
                    self._scale(at)
                    self._later(at + LOOK_SECONDS, "look")
                case "point":
                    self._point(at)
                    self._later(at + POINT_SECONDS, "point")
        self._pass(end)
        return self._day

    # Sessions ------------------------------------------------------------------------------------------------------

    def _arrive(self, at: float) -> None:
        day, cost = self._day, self._cost()
        day.came += 1
        engine = RULES[self._world.rule](self._free, cost)
        if engine is None:
            day.refused += 1
            return
        self._put(day.came, cost, engine)
        self._later(at + self._chance.expovariate(1 / (60 * self._world.minutes)), "leave", day.came)
        day.most_sessions = max(day.most_sessions, len(self._where))

    def _leave(self, session: int) -> None:
        engine = self._where.pop(session, None)
        if engine is not None:
            self._take(session, engine)

    def _put(self, session: int, cost: float, engine: int) -> None:
        self._where[session], self._on[engine][session] = engine, cost
        self._free[engine] -= cost
        self._used += cost

    def _take(self, session: int, engine: int) -> float:
        cost = self._on[engine].pop(session)
        self._free[engine] += cost
        self._used -= cost
        return cost

    # Engines -------------------------------------------------------------------------------------------------------

    def _add(self, ready: float) -> int:
        """One more, which takes sessions from `ready` on; places of those that are gone are used again."""
        gone = [n for n in range(len(self._on)) if self._free[n] == -math.inf and n not in self._ready_at]
        if gone:
            number = gone[0]
        else:
            number = len(self._on)
            self._free = np.append(self._free, -math.inf)
            self._on.append({})
            self._lives.append(0)
        self._ready_at[number] = ready
        return number

    def _open(self, number: int, at: float) -> None:
        del self._ready_at[number]
        self._free[number] = self._world.room
        self._running += 1
        self._lives[number] += 1
        self._day.most_engines = max(self._day.most_engines, self._running)
        lasts = self._chance.expovariate(1 / (self._world.mean_days * DAY))
        self._later(at + lasts, "fail", number, self._lives[number])

    def _close(self, number: int) -> None:
        self._free[number] = -math.inf
        self._running -= 1
        self._lives[number] += 1

    def _fail(self, engine: int) -> None:
        """Its sessions go on where there is room, on all who take some at once, on each one after the other."""
        world, day = self._world, self._day
        sessions = dict(self._on[engine])
        for session in sessions:
            self._take(session, engine)
        self._close(engine)
        day.failures += 1
        restored: dict[int, int] = {}
        for session, cost in sessions.items():
            target = RULES[world.rule](self._free, cost)
            if target is None:
                del self._where[session]
                day.lost += 1
                continue
            self._put(session, cost, target)
            restored[target] = restored.get(target, 0) + 1
            day.failed_over += 1
            away = world.detect_seconds + restored[target] * world.restore_seconds
            day.late += away > world.lead
            day.late_seconds += max(0.0, away - world.lead)

    def _scale(self, at: float) -> None:
        world, there = self._world, self._running
        wanted = min(world.largest, world.scaling.wanted(self._used, world.room))
        for _ in range(wanted - there - len(self._ready_at)):
            number = self._add(at + world.start_seconds)
            self._later(at + world.start_seconds, "ready", number)
        if wanted >= there:
            self._enough_since = at
        elif at - self._enough_since >= world.scaling.patience:
            self._empty()

    def _empty(self) -> None:
        """Let the engine go that has the least on it, its sessions moved to others; none where they do not fit."""
        engine = int(np.argmax(self._free))
        moving, self._free[engine] = self._free[engine], -math.inf
        others = self._free.copy()
        targets = []
        for session, cost in self._on[engine].items():
            target = RULES[self._world.rule](others, cost)
            if target is None:
                self._free[engine] = moving
                return
            others[target] -= cost
            targets.append((session, cost, target))
        for session, cost, target in targets:
            del self._on[engine][session]
            self._used -= cost
            self._put(session, cost, target)
        self._day.moved += len(targets)
        self._close(engine)

    # Time and chance -----------------------------------------------------------------------------------------------

    def _pass(self, at: float) -> None:
        self._day.engine_seconds += (at - self._at) * (self._running + len(self._ready_at))
        self._day.used_seconds += (at - self._at) * self._used
        self._at = at

    def _point(self, at: float) -> None:
        refused = self._day.refused - self._refused_before
        self._refused_before = self._day.refused
        self._day.points.append((at, len(self._where), self._running, refused))

    def _later(self, at: float, what: str, number: int = 0, life: int = 0) -> None:
        heapq.heappush(self._events, (at, next(self._order), what, number, life))

    def _peak(self) -> float:
        return self._world.rate(DAY / 2)

    def _gap(self, at: float) -> float:
        """When the next may come, by the busiest hour's rate; thinned when it does."""
        return at + self._chance.expovariate(self._peak())

    def _cost(self) -> float:
        costs, likely = zip(*self._world.costs, strict=True)
        return float(self._chance.choices(costs, likely)[0])

    def _mean_cost(self) -> float:
        total = sum(likely for _, likely in self._world.costs)
        return sum(cost * likely for cost, likely in self._world.costs) / total


def simulated(world: World) -> Day:
    """What happens in this world."""
    return Simulation(world).run()
