"""One client's place in a feed: what it gets next, what it lost, and whether it is too slow.

A listener has no queue of sound of its own. So the slowest costs no memory, and who resumes gets the bytes that were
sent before.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from safa_server.control import Dropped
from safa_server.feed import Feed, packed
from safa_server.header import with_gap
from safa_server.limits import Limits
from safa_server.storage import LONGEST_UNWRITTEN
from safa_server.wire import write
from safa_stream.errors import UsageError


class Outlet(Protocol):
    """Where a listener's messages go. Nothing here waits."""

    def has_room(self) -> bool:
        """May more be written now?"""
        ...

    def send(self, message: str) -> None: ...

    def send_packet(self, packet: bytes) -> None:
        """Write a WebSocket message as it is."""
        ...

    def cut(self, reason: str, code: int = 1013) -> None:
        """Close the connection of a client that cannot be served; it may resume."""
        ...


@dataclass(slots=True)
class Sent:
    """What was sent in one go: frames, their bytes, and samples that were dropped."""

    frames: int = 0
    bytes: int = 0
    dropped: int = 0


@dataclass(slots=True, eq=False)
class Listener:
    """See the module.

    more: seconds by which it may be behind beside what all may; next: the frame that it gets next, None until that is
    known; wanted: the frame where it wanted to go on; lost: first sample that it lost and was not told of yet;
    behind_since: when it had no room for a frame, None if it has all; drives: its grants drive the session (pull), and
    generation waits for it; catching_up: it came back and has not had all yet, which may take its time.
    """

    outlet: Outlet
    feed: Feed
    limits: Limits
    control: bool
    more: float = 0.0
    drives: bool = False
    next: int | None = None
    wanted: int | None = None
    lost: int | None = None
    behind_since: float | None = None
    catching_up: bool = False
    acknowledged: int | None = None
    playhead: int | None = None
    messages: deque[str] = field(default_factory=deque)

    def place(self, after: int | None) -> None:
        """Begin behind frame `after`, or with the next one. Raises UsageError for a frame that cannot be there yet.

        A session that goes on from its journal stands a little before the frames that it sent last.
        """
        if after is not None and self.feed.begun and after >= self.feed.next + self.feed.count(LONGEST_UNWRITTEN):
            raise UsageError(f"frame {after} has not been sent yet; the next one is {self.feed.next}")
        self.wanted = None if after is None else after + 1
        if self.feed.begun:
            self.next = self.feed.next if self.wanted is None else self.wanted
            self.catching_up = after is not None

    @property
    def first(self) -> int | None:
        """The first frame that it will get, None while that is not known."""
        return None if self.next is None else max(self.next, self.feed.first)

    @property
    def behind(self) -> int:
        """Frames that wait for it."""
        return 0 if self.next is None else max(0, self.feed.next - self.next)

    def tell(self, message: str) -> None:
        """Queue a text message; who lets too many wait is cut off."""
        self.messages.append(message)
        if len(self.messages) > self.limits.waiting_messages:
            self.messages.clear()
            self.outlet.cut("too slow: too many messages wait")

    def serve(self, sent: Sent) -> bool:
        """Send what there is room for, and note it in `sent`; true where something is left."""
        feed, outlet = self.feed, self.outlet
        # Nearly always: one frame, nothing else, and room for it.
        if self.next == feed.next - 1 and not self.messages and self.lost is None and outlet.has_room():
            if self.next >= feed.first:
                self._send(feed.frame(self.next).packet, sent)
                return False
        self._drop()
        while self.messages:
            if not outlet.has_room():
                return True
            outlet.send(self.messages.popleft())
        while self.behind and outlet.has_room():
            assert self.next is not None
            kept = feed.frame(self.next)
            if self.lost is None:
                self._send(kept.packet, sent)
                continue
            outlet.send(write(Dropped(samples=kept.start - self.lost, from_=self.lost, to=kept.start)))
            sent.dropped += kept.start - self.lost
            self.lost = None
            self._send(packed(with_gap(kept.message)), sent)
        if not self.behind:
            self.behind_since = None
        elif self.behind_since is None:
            self.behind_since = time.monotonic()
        return self.behind_since is not None

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        encoding = self.feed.encoding
        return {
            "control": self.control,
            "drives": self.drives,
            "format": encoding.format,
            "rate": encoding.rate,
            "channels": encoding.channels,
            "layer": encoding.layer,
            "behind": self.behind,
            "acknowledged": self.acknowledged,
            "playhead": self.playhead,
        }

    def _send(self, packet: bytes, sent: Sent) -> None:
        assert self.next is not None
        self.outlet.send_packet(packet)
        self.next += 1
        sent.frames += 1
        sent.bytes += len(packet)

    def _drop(self) -> None:
        """Move on where it is too far behind; what it skips is told before its next frame."""
        feed = self.feed
        if not feed.begun:
            return
        if self.next is None:
            self.next = feed.first if self.wanted is None else self.wanted
        oldest, most = feed.first, feed.count(self.limits.queue_seconds + self.more)
        if self.behind <= most:
            self.catching_up = False
        elif not self.catching_up and self._had_time():
            oldest = max(oldest, feed.next - most)
        if self.next < oldest:
            if self.lost is None:
                self.lost = feed.start_of(self.next)
            self.next = oldest

    def _had_time(self) -> bool:
        """Could it have taken what waits? After a stall of the server itself it could not."""
        since = self.behind_since
        return since is not None and time.monotonic() - since > self.limits.queue_seconds
