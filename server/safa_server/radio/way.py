"""What a way out of the server is to the broadcast that uses it: a target that can be connected to, again and again."""

from __future__ import annotations

from typing import Protocol

from safa_stream.types import FloatArray


class Line(Protocol):
    """One connection, from its beginning to its end. For one event loop."""

    async def send(self, samples: FloatArray) -> None:
        """Hand on a block [channels, N]; waits while there is no room for it. Raises FailureError where it is over."""

    async def tell(self, title: str) -> None:
        """What is heard now, for who listens; nothing where the protocol has no place for it."""

    async def lost(self) -> str:
        """Wait until the line is over, and say why."""

    async def finish(self, seconds: float) -> None:
        """Send what is on its way, within `seconds`, and end."""

    async def end(self) -> None:
        """End at once."""


class Way(Protocol):
    """A target. name: how it is called in log lines and metrics, without secrets; clocked: what
    is sent leaves on a clock of its own."""

    @property
    def name(self) -> str: ...

    @property
    def clocked(self) -> bool: ...

    def check(self) -> None:
        """Raise UsageError where a program is missing."""

    async def connect(self, title: str) -> Line:
        """A new line. Raises UsageError where it is refused for good, FailureError where trying again may help."""
