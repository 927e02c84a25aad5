"""A session with its lock: the event loop reads sound and hands in commands, the engine starts and completes views."""

from __future__ import annotations

import threading
import time
from collections import deque

from safa_server.blocks import Block
from safa_server.fairness import Account
from safa_stream.session.session import Session


class Live:
    """A session and its lock. `urgent`: its clock does not wait (pacing live); name: its id, once it has one;
    kept_at: when its newest snapshot was taken, on the monotonic clock, None where there is none; left: the latest
    blocks that left it, where a snapshot wants them."""

    def __init__(self, session: Session, lead_seconds: float, urgent: bool) -> None:
        self.session, self.lead_seconds, self.urgent = session, lead_seconds, urgent
        self.lock = threading.Lock()
        self.name = ""
        self.kept_at: float | None = None
        self.left: deque[Block] | None = None
        self.closed = False
        self.failure: str | None = None
        self.account = Account(time.perf_counter())
        #: Rows of the denoiser's batch, and decodings, that each of its views takes.
        self.groups = session.state.model.facts.groups
