"""A place in somebody's trace, as W3C Trace Context writes it in the header `traceparent`. Pure.

00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
version, trace, parent span, flags (bit 0: the caller records this trace)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A later version may have more behind the flags; what comes first means the same in it (section 4.3 of the standard).
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
PATTERN = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$"
LONGEST = 256


@dataclass(frozen=True, slots=True)
class Traceparent:
    """trace, span: numbers of 128 and 64 bits, never 0; sampled: whether the caller records its part."""

    trace: int
    span: int
    sampled: bool

    @classmethod
    def read(cls, text: str) -> Traceparent | None:
        """None for what is none; the standard has a caller's fault begin a new trace, and nothing worse."""
        found = _FORM.fullmatch(text) if len(text) <= LONGEST else None
        if found is None or found[1] == "ff" or (found[1] == "00" and found[5] is not None):
            return None
        trace, span = int(found[2], 16), int(found[3], 16)
        return cls(trace, span, bool(int(found[4], 16) & 1)) if trace and span else None

    def __str__(self) -> str:
        return f"00-{self.trace:032x}-{self.span:016x}-{int(self.sampled):02x}"
