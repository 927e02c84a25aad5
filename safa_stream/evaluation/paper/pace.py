"""Progress of long measurements: how much is done, and how long the rest takes at the pace so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from safa_stream.evaluation.tables import Report


@dataclass(slots=True)
class Pace:
    """Tells `report` a line after every piece of work; costs are in any one unit."""

    total: float
    pieces: int
    report: Report
    done: float = 0.0
    number: int = 0
    begun: float = field(default_factory=time.perf_counter)

    def passed(self, cost: float, what: str) -> None:
        """A piece of work is done."""
        self.done += cost
        self.number += 1
        spent = time.perf_counter() - self.begun
        left = spent / self.done * max(0.0, self.total - self.done) if self.done else 0.0
        self.report(f"[{self.number}/{self.pieces}] {what}, {spoken(left)} left")


def spoken(seconds: float) -> str:
    """Seconds as people read them: 0:07, 12:30, 61:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
