"""From the wall clock, in which OSC's time tags are written, to samples of a session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

#: Blocks whose departure is remembered: one second.
REMEMBERED = 50
#: A session whose blocks come so much later than before was paused: what is older tells nothing any more.
PAUSED_NS = 100_000_000
#: Time tags whose samples are remembered.
REMEMBERED_TAGS = 64


class SampleClock:
    """When samples leave a session, learnt from its blocks.

    An event loop hands blocks out late by some milliseconds, never early. So the earliest of the last second, seen from
    sample 0, is nearest to the truth, and two time tags are as far apart in samples as they are on the wall clock.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._zeros: deque[int] = deque(maxlen=REMEMBERED)
        self._tags: dict[float, int] = {}

    def left(self, start: int, clock_ns: int) -> None:
        """A block whose first sample is `start` left at `clock_ns` of the monotonic clock."""
        zero = clock_ns - start * 1_000_000_000 // self._rate
        if self._zeros and zero - min(self._zeros) > PAUSED_NS:
            self._zeros.clear()
        self._zeros.append(zero)

    def sample(self, clock_ns: int, position: int, now_ns: int, playing: bool) -> int:
        """The sample that leaves at `clock_ns`. position, playing: of the session at `now_ns`.

        A session whose clock stands still, or whose blocks have not been seen, is counted from its position.
        """
        if not playing or not self._zeros:
            return position + round((clock_ns - now_ns) * self._rate / 1_000_000_000)
        return round((clock_ns - min(self._zeros)) * self._rate / 1_000_000_000)

    def tagged(self, tag: float, reckon: Callable[[], int]) -> int:
        """The sample of a time tag (seconds since 1970), by `reckon` when it is new.

        What has one time tag happens at one time (OSC 1.0, time tags), in one bundle or in several: a tag that was seen
        before keeps its sample, though the clocks, read again, may tell another one.
        """
        if tag not in self._tags:
            if len(self._tags) >= REMEMBERED_TAGS:
                del self._tags[next(iter(self._tags))]
            self._tags[tag] = reckon()
        return self._tags[tag]

    def when(self, sample: int) -> int | None:
        """When a sample leaves, of the monotonic clock; None before any block was seen."""
        return min(self._zeros) + sample * 1_000_000_000 // self._rate if self._zeros else None
