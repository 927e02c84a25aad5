"""Which sample of the session a frame of the ring is: plugins count frames, commands are meant for samples. Pure."""

from __future__ import annotations

from collections import deque

#: Stretches that are remembered: older ones have been heard.
MOST = 64


class Clock:
    """The ring as stretches in which frames follow each other.

    rate: of the frames, session_rate: of the session's clock, both in Hz; delay: samples from where a command acts to
    where it is heard.
    """

    def __init__(self, rate: int, session_rate: int, delay: int) -> None:
        self.rate, self.session_rate, self.delay = rate, session_rate, delay
        self._stretches: deque[tuple[int, int]] = deque(maxlen=MOST)

    def begin(self, index: int, start: int) -> None:
        """The ring's frame `index` is frame `start` of the session at the frames' rate, and what follows follows."""
        self._stretches.append((index, start))

    def sample(self, index: int) -> int:
        """The session's sample that is heard with frame `index`. Needs one stretch."""
        known = next((one for one in reversed(self._stretches) if one[0] <= index), self._stretches[0])
        return -(-(known[1] + index - known[0]) * self.session_rate // self.rate)

    def command_at(self, index: int) -> int:
        """The sample at which a command has to act so that it is heard from frame `index` on."""
        return max(0, self.sample(index) - self.delay)
