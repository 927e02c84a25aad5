"""What a client wants when it opens a session, checked. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safa_stream.errors import UsageError

#: Sound that is kept ready ahead, seconds; more makes changes without `now` later, less makes late views likelier.
LEAST_LEAD, DEFAULT_LEAD, LARGEST_LEAD = 2.0, 8.0, 60.0
#: A live session's sound leaves so much before its time, for the players' jitter buffers, where nobody asks for more.
BURST_SECONDS, LARGEST_AHEAD = 0.2, 20.0


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What a client wants. scene: a prompt line or a scene's JSON object; lead_seconds: sound kept ready ahead.

    channels: the session's, where the scene does not say; None and 1 are 2. ahead: seconds by which sound leaves before
    its time in pacing live, BURST_SECONDS where None. tenant: whose the session will be, None the operator's. Raises
    UsageError.
    """

    scene: Any
    pacing: str = "live"
    lead_seconds: float | None = None
    name: str | None = None
    channels: int | None = None
    ahead: float | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        if self.pacing not in ("live", "pull", "host", "device"):
            raise UsageError(f"field 'pacing' must be 'live', 'pull', 'host' or 'device', not {self.pacing!r}")
        _check_seconds("lead", self.lead_seconds, LEAST_LEAD, LARGEST_LEAD)
        _check_seconds("ahead", self.ahead, 0.0, LARGEST_AHEAD)
        if self.name is not None and (not isinstance(self.name, str) or not 0 < len(self.name) <= 64):
            raise UsageError("field 'name' must have 1 to 64 characters")


def _check_seconds(name: str, value: float | None, least: float, most: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and least <= value <= most):
        raise UsageError(f"field {name!r} must be from {least:g} to {most:g} seconds, not {value!r}")
