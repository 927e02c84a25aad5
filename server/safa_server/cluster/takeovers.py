"""How often sessions lose their engines: one that does so again and again is what they are lost by."""

from __future__ import annotations

from collections import deque

#: A session that loses so many engines in so many seconds is handed to nobody any more.
MOST, SECONDS = 4, 60.0


class Takeovers:
    """When each session was handed on lately."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def one_more(self, session: str, now: float) -> str | None:
        """Count that a session is handed on; says why it had better not be, None where it may."""
        self._times = {name: times for name, times in self._times.items() if times and now - times[-1] < SECONDS}
        times = self._times.setdefault(session, deque(maxlen=MOST))
        if len(times) == MOST and now - times[0] < SECONDS:
            return f"{MOST} engines were lost with it within {SECONDS:g} s"
        times.append(now)
        return None

    def not_counted(self, session: str) -> None:
        """The latest time was none: its engine could not take it, and was not lost."""
        if self._times.get(session):
            self._times[session].pop()

    def forget(self, session: str) -> None:
        """A session is over."""
        self._times.pop(session, None)
