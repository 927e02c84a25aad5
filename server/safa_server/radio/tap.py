"""Where a session's sound waits for one way out: within bounds, the oldest gives way, and rest is silence. Pure.

A radio must not stop: an Icecast server gives up a source that is silent for ten seconds, and RTP's receivers take a
pause for a loss. So while a session rests, silence follows its last block, as fast as time goes by; sound fades into it
and out of it within 5 ms, so that neither clicks.

What leaves on a clock of its own (RTP) has to get as much sound as time goes by. A session whose clock stood still for
more than it may catch up is behind for good: silence takes the place of what it did not make.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from safa_server.blocks import BLOCK
from safa_server.requests import BURST_SECONDS
from safa_server.ring import FADE
from safa_stream.types import FloatArray

#: On a clock: sound that is late by more than this for so long will not catch up.
SLACK_SECONDS, BEHIND_SECONDS = 0.06, 1.0
_FALLING = np.cos(np.linspace(0, np.pi / 2, FADE + 1, dtype=np.float32))[1:] ** 2


class Tap:
    """Blocks [channels, N] in, the same out, unchanged but for the first one after a silence, which fades in.

    seconds: sound that may wait at most; clocked: as above. All times are seconds of one steady clock. dropped: samples
    that gave way, missing: samples of silence because the session was behind, both since the beginning.
    """

    def __init__(self, rate: int, channels: int, seconds: float, clocked: bool) -> None:
        self.dropped = self.missing = 0
        self._rate, self._clocked = rate, clocked
        self._most = round(seconds * rate)
        self._blocks: deque[FloatArray] = deque()
        self._waiting = 0
        self._quiet = np.zeros((channels, BLOCK), np.float32)
        self._end, self._silent = np.zeros((channels, 1), np.float32), False
        # What was added since `origin` lasts until origin + added / rate. None: the next sound begins it.
        self._origin: float | None = None
        self._added = 0
        self._behind_since: float | None = None

    @property
    def waiting(self) -> int:
        """Samples that wait."""
        return self._waiting

    def push(self, samples: FloatArray, now: float) -> None:
        """A block of the session."""
        if self._silent:
            samples = samples.copy()
            samples[:, :FADE] *= _FALLING[::-1][: samples.shape[1]]
        if not self._clocked:
            self._origin = None
        elif self._origin is None:
            self._origin, self._added = now, 0
        self._end, self._silent = samples[:, -1:], False
        self._add(samples)

    def rest(self, now: float) -> None:
        """The session rests: silence up to `now`."""
        if self._origin is None:
            # By so much is a session's clock ahead when it plays again, so no delay adds up.
            self._origin, self._added = now + BURST_SECONDS, 0
        self._behind_since = None
        while self._late(now) * self._rate >= BLOCK:
            self._hush()

    def keep_up(self, now: float) -> None:
        """The session plays, and all that it made was pulled: on a clock, silence where it is behind for good."""
        if not self._clocked or self._late(now) <= SLACK_SECONDS:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since > BEHIND_SECONDS:
            while self._late(now) > 0:
                self._hush()
                self.missing += BLOCK

    def pull(self) -> FloatArray | None:
        """The oldest block that waits, None where none does."""
        if not self._blocks:
            return None
        samples = self._blocks.popleft()
        self._waiting -= samples.shape[1]
        return samples

    def clear(self) -> int:
        """Forget what waits, for the way out begins anew with what comes next. How many samples that were."""
        self._blocks.clear()
        gone, self._waiting = self._waiting, 0
        self._origin = self._behind_since = None
        return gone

    def _late(self, now: float) -> float:
        """Seconds since what was added is over; less than 0 where it still lasts."""
        return 0.0 if self._origin is None else now - self._origin - self._added / self._rate

    def _hush(self) -> None:
        """One block of silence, into which the last sample falls."""
        block = self._quiet
        if not self._silent:
            block = block.copy()
            block[:, :FADE] = self._end * _FALLING
        self._silent = True
        self._add(block)

    def _add(self, samples: FloatArray) -> None:
        self._blocks.append(samples)
        count = samples.shape[1]
        self._waiting += count
        self._added += count
        while self._waiting > self._most:
            gone = self._blocks.popleft().shape[1]
            self._waiting -= gone
            self._added -= gone
            self.dropped += gone
