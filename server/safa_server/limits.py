"""How much of everything the port takes: every queue, message, ring and count of it has its bound here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from safa_stream.errors import UsageError


def _limit(default: float, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and counts, all above 0; every field's metadata has a "help". Raises UsageError."""

    connections: int = _limit(512, "WebSockets at a time.")
    message_bytes: int = _limit(128 * 1024, "The longest text message, bytes.")
    messages_per_second: float = _limit(
        200.0, "Messages of one connection; more than that (in a burst twice as many) wait."
    )
    handshake_seconds: float = _limit(10.0, "For a whole request, and for TLS before it.")
    first_message_seconds: float = _limit(10.0, "From then on until `open` or `join`.")
    ping_seconds: float = _limit(
        20.0, "A client is asked so often if it is there, and dropped if it does not answer for as long again."
    )
    resume_seconds: float = _limit(
        30.0, "How long a session waits for a client that was lost, and how much sound is kept for it."
    )
    ring_bytes: int = _limit(32 * 1024 * 1024, "The most of that sound in one encoding.")
    queue_seconds: float = _limit(2.0, "How far a client may fall behind before the oldest sound is dropped.")
    encodings: int = _limit(12, "Formats, rates, channel counts and layers of one session at a time.")
    listeners: int = _limit(512, "Of one session.")
    waiting_messages: int = _limit(512, "Events that wait for one slow client.")
    write_bytes: int = _limit(128 * 1024, "Sound of one connection that the system has not taken yet.")
    stuck_bytes: int = _limit(4 * 1024 * 1024, "The same with all answers, at which a connection is cut.")

    def __post_init__(self) -> None:
        for one in fields(self):
            if not getattr(self, one.name) > 0:
                raise UsageError(f"limit {one.name!r} must be above 0, not {getattr(self, one.name)}")
        if self.stuck_bytes < 4 * self.write_bytes:
            raise UsageError("limit 'stuck_bytes' must be at least four times 'write_bytes'")
