"""What a client wants when it opens a session, checked. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safa_stream.errors import UsageError

#: Sound that is kept ready ahead, seconds; more makes changes without `now` later, less makes late views likelier.
LEAST_LEAD, DEFAULT_LEAD, LARGEST_LEAD = 2.0, 8.0, 60.0


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What a client wants. scene: a prompt line or a scene's JSON object; lead_seconds: sound kept ready ahead.

    channels: the session's, where the scene does not say; None and 1 are 2. tenant: whose the session will be, None the
    operator's. Raises UsageError.
    """

    scene: Any
    pacing: str = "live"
    lead_seconds: float | None = None
    name: str | None = None
    channels: int | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        if self.pacing not in ("live", "pull", "host", "device"):
            raise UsageError(f"field 'pacing' must be 'live', 'pull', 'host' or 'device', not {self.pacing!r}")
        lead = self.lead_seconds
        if lead is not None and (
            isinstance(lead, bool) or not isinstance(lead, int | float) or not LEAST_LEAD <= lead <= LARGEST_LEAD
        ):
            raise UsageError(f"field 'lead' must be from {LEAST_LEAD:g} to {LARGEST_LEAD:g} seconds, not {lead!r}")
        if self.name is not None and (not isinstance(self.name, str) or not 0 < len(self.name) <= 64):
            raise UsageError("field 'name' must have 1 to 64 characters")
