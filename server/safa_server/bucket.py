"""A rate with a burst, by a clock that its user brings. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """`take` says whether one more is within the rate. rate: a second; burst: how many at once; held: what is left."""

    rate: float
    burst: float
    held: float
    since: float

    def take(self, now: float) -> bool:
        """Whether one more fits at `now`, seconds of a clock that only goes forward."""
        self.held = min(self.burst, self.held + (now - self.since) * self.rate)
        self.since = now
        if self.held < 1:
            return False
        self.held -= 1
        return True

    def wait(self) -> float:
        """Seconds from the last `take` until one more fits."""
        return max(0.0, 1 - self.held) / self.rate
