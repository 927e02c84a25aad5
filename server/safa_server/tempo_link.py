"""Ableton Link as a leader: tempo, beat and start/stop of whoever shares the network. Needs `safa-stream[link]`.

Of the two bindings this is LinkPython-extern, as it tells the beat at any moment, which is what a sound's way to the
ear needs; aalink tells the present one. Link counts CLOCK_MONOTONIC_RAW, sessions CLOCK_MONOTONIC, which the machine's
time service may pull by some millionths: the difference is read at every look.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

from safa_server.tempo_follow import Reading
from safa_stream.errors import UsageError

#: A tempo that nobody else shares is told to Link where it differs by more.
NEAR = 0.001


class LinkLeader:
    """Joins the Link session of the network. For one thread."""

    def __init__(self, bpm: float) -> None:
        """bpm: what others find here who come later. Raises UsageError where the extra is not installed."""
        try:
            library: Any = importlib.import_module("link")
        except ImportError:
            raise UsageError("Ableton Link needs an extra: pip install 'safa-stream[link]'") from None
        self._link = library.Link(bpm)
        self._link.startStopSyncEnabled = True
        self._link.enabled = True

    @property
    def peers(self) -> int:
        """How many others share the tempo."""
        return int(self._link.numPeers())

    def reading(self, at_ns: int, quantum: float) -> Reading | None:
        """As of `Leader`: the beat's place in a bar is shared by all, the number of the bar is not."""
        if not self.peers:
            return None
        state = self._link.captureAppSessionState()
        ahead = (at_ns - time.monotonic_ns()) // 1000
        at = self._link.clock().micros() + ahead
        return Reading(state.tempo(), state.beatAtTime(at, quantum), state.isPlaying())

    def offer(self, bpm: float) -> None:
        """While nobody else is there, this is the tempo that who joins later finds."""
        state = self._link.captureAppSessionState()
        if not self.peers and abs(state.tempo() - bpm) > NEAR:
            state.setTempo(bpm, self._link.clock().micros())
            self._link.commitAppSessionState(state)

    def close(self) -> None:
        """Leave."""
        self._link.enabled = False
