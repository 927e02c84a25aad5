"""A session with its lock: the event loop reads sound and hands in commands, the engine starts and completes views."""

from __future__ import annotations

import threading
import time
from collections import deque

from safa_server.blocks import Block
from safa_server.fairness import Account
from safa_stream.session.session import Session

#: A listener that comes back to a restored session does so within that time, and others of it soon after the first.
HELD_SECONDS, SOON_SECONDS = 30.0, 1.0


class Live:
    """A session and its lock. `urgent`: its clock does not wait (pacing live); name: its id, once it has one;
    kept_at: when its newest snapshot was taken, on the monotonic clock, None where there is none; left: the latest
    blocks that left it, where a snapshot wants them.

    held: before this sample no view is completed, nor for HELD_SECONDS, whichever ends first. A session that was
    restored stands a little before what was heard of it, and a change that was under way must not come into that now.
    """

    def __init__(self, session: Session, lead_seconds: float, urgent: bool, held: int = 0) -> None:
        self.session, self.lead_seconds, self.urgent = session, lead_seconds, urgent
        self.lock = threading.Lock()
        self.name = ""
        self.kept_at: float | None = None
        self.left: deque[Block] | None = None
        self.closed = False
        self.failure: str | None = None
        self.account = Account(time.perf_counter())
        self._held, self._held_until = held, time.monotonic() + HELD_SECONDS
        #: Rows of the denoiser's batch, and decodings, that each of its views takes.
        self.groups = session.state.model.facts.groups

    @property
    def held(self) -> bool:
        """Whether views that are made have to wait before they are completed."""
        return self.session.position < self._held and time.monotonic() < self._held_until

    def heard(self) -> None:
        """A listener has come back and has what it had: it is not long until all have."""
        self._held_until = min(self._held_until, time.monotonic() + SOON_SECONDS)
