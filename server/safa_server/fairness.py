"""What each session threw away: whoever has views made again and again waits for the others.

A session whose prompts change `now` all the time, or that is rewound again and again, throws sound away that was made
for it, and is always near its end. By who runs dry first alone it would always come first, and others would run dry for
it. So its deadlines are put off by the sound that it threw away, as if it still had it (those of a constant bandwidth
server are put off likewise: Abeni and Buttazzo, RTSS 1998). Counted in seconds of sound, as how fast the machine is
just now is no session's fault.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A session's changes come before what others need later until it threw so much away; so much at most is remembered.
PATIENT_SECONDS, MOST_SECONDS = 16.0, 30.0


@dataclass(slots=True)
class Account:
    """thrown: seconds of sound, never below 0; forgotten second by second. at: the moment, seconds, that it is of."""

    at: float
    thrown: float = 0.0

    def left(self, now: float) -> float:
        """What is not forgotten at a later moment."""
        return max(0.0, self.thrown - (now - self.at))

    def throw(self, seconds: float, now: float) -> None:
        """Note sound that was made and will not be heard."""
        self.thrown, self.at = min(MOST_SECONDS, self.left(now) + max(0.0, seconds)), now
