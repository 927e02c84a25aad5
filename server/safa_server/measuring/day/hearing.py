"""What one client hears of a session: every sample accounted for, and a hash of every frame, to be compared later."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

from safa_server.client import Received, SafaClient
from safa_server.measuring.account import Account

#: Bytes of a frame's hash.
DIGEST = 8


def digest(payload: bytes) -> bytes:
    """A frame's hash."""
    return hashlib.blake2b(payload, digest_size=DIGEST).digest()


@dataclass(slots=True)
class Heard:
    """first: number of the first frame; digests: of all frames from there on, DIGEST bytes each, zeros for those that
    never came; contradictions: frames that came twice and differed; underruns: beds that began; told: samples that were
    dropped for a client that was too slow, as it was told; silence: the longest
    time between two frames since `listen_for_silence`, seconds."""

    account: Account = field(default_factory=Account)
    first: int | None = None
    digests: bytearray = field(default_factory=bytearray)
    contradictions: int = 0
    underruns: int = 0
    told: int = 0
    silence: float = 0.0
    _at: float = field(default_factory=time.monotonic)

    @property
    def frames(self) -> int:
        """Frames from the first to the latest."""
        return len(self.digests) // DIGEST

    def take(self, client: SafaClient, frame: Received) -> None:
        """One frame, and the events that came with it."""
        now = time.monotonic()
        self.silence, self._at = max(self.silence, now - self._at), now
        head, found = frame.header, digest(frame.payload)
        self.account.take(head.sequence, head.start, head.frames)
        if self.first is None:
            self.first = head.sequence
        place = (head.sequence - self.first) * DIGEST
        if 0 <= place < len(self.digests):
            self.contradictions += self.digests[place : place + DIGEST] != found
        else:
            self.digests.extend(bytes(place - len(self.digests)))
            self.digests.extend(found)
        while client.events:
            event = client.events.popleft()
            self.underruns += event["type"] == "bed.began"
            self.told += event["samples"] if event["type"] == "dropped" else 0

    def listen_for_silence(self) -> None:
        """Measure `silence` from now on."""
        self.silence, self._at = 0.0, time.monotonic()

    def silent_for(self) -> float:
        """Seconds since the latest frame."""
        return time.monotonic() - self._at
