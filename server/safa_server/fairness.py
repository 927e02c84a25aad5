"""What each session took of the engine's time beyond its share: whoever takes too much waits for the others.

A session whose prompts change `now` all the time, or that is rewound again and again, throws views away and never has
sound ahead. By who runs dry first alone it would always come first, and others would run dry for it. Shares are equal;
a session that needs more, for its many layers, gets what the others leave.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Account:
    """Debt: engine seconds beyond a session's share, never below 0. at: the moment, seconds, that it is of."""

    at: float
    debt: float = 0.0

    def owed(self, now: float, share: float) -> float:
        """The debt at a later moment. share: of every second of the engine, that is the session's."""
        return max(0.0, self.debt - share * (now - self.at))

    def take(self, seconds: float, now: float, share: float, most: float) -> None:
        """Note engine time that was spent. most: that is remembered."""
        self.debt, self.at = min(most, self.owed(now, share) + seconds), now
