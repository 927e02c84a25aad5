"""Where a session's sound waits for one way out: within bounds, the oldest gives way, and rest is silence. Pure.

A radio must not stop: an Icecast server gives up a source that is silent for ten seconds, and RTP's receivers take a
pause for a loss. So while a session rests, silence follows its last block, as fast as time goes by; sound fades into it
and out of it within 5 ms, so that neither clicks.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from safa_server.ring import FADE
from safa_server.station import BLOCK, BURST_SECONDS
from safa_stream.types import FloatArray

_FALLING = np.cos(np.linspace(0, np.pi / 2, FADE + 1, dtype=np.float32))[1:] ** 2


class Tap:
    """Blocks [channels, N] in, the same out, unchanged but for the first one after a silence, which fades in.

    seconds: sound that may wait at most. dropped: samples that gave way since the beginning.
    """

    def __init__(self, rate: int, channels: int, seconds: float) -> None:
        self.dropped = 0
        self._rate = rate
        self._most = round(seconds * rate)
        self._blocks: deque[FloatArray] = deque()
        self._waiting = 0
        self._quiet = np.zeros((channels, BLOCK), np.float32)
        self._end = np.zeros((channels, 1), np.float32)
        self._rests_from: float | None = None
        self._rested = 0

    @property
    def waiting(self) -> int:
        """Samples that wait."""
        return self._waiting

    def push(self, samples: FloatArray) -> None:
        """A block of the session."""
        if self._rested:
            samples = samples.copy()
            samples[:, :FADE] *= _FALLING[::-1][: samples.shape[1]]
        self._rests_from, self._rested = None, 0
        self._end = samples[:, -1:]
        self._add(samples)

    def rest(self, now: float) -> None:
        """The session rests, at `now` seconds of a steady clock: silence up to here."""
        if self._rests_from is None:
            # What a session's clock is ahead when it plays again is sent while it rests, so no delay adds up.
            self._rests_from = now + BURST_SECONDS
        while self._rests_from + (self._rested + BLOCK) / self._rate <= now:
            self._add(self._quiet if self._rested else self._fall())
            self._rested += BLOCK

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
        return gone

    def _fall(self) -> FloatArray:
        """The first block of a silence: the last sample falls to zero."""
        block = self._quiet.copy()
        block[:, :FADE] = self._end * _FALLING
        return block

    def _add(self, samples: FloatArray) -> None:
        self._blocks.append(samples)
        self._waiting += samples.shape[1]
        while self._waiting > self._most:
            gone = self._blocks.popleft().shape[1]
            self._waiting -= gone
            self.dropped += gone
