"""Loops that were captured from a session: made on the engine's thread, the latest of them kept to be fetched."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable

from safa_server.runner import Runner
from safa_stream.errors import SafaError, UsageError
from safa_stream.session.loops import Capture, loop_steps
from safa_stream.session.messages import LoopReady, Refused
from safa_stream.types import FloatArray

LARGEST_LOOPS = 8
MOST_AT_ONCE = 4

log = logging.getLogger("safa_server.loops")


class Loops:
    """One session's loops. On the event loop."""

    def __init__(self, runner: Runner, rate: int) -> None:
        self._runner, self._rate = runner, rate
        self._kept: OrderedDict[str, FloatArray] = OrderedDict()
        self._making = 0

    def get(self, loop_id: str) -> FloatArray:
        """A loop [channels, N]. Raises UsageError where there is none of that name."""
        if loop_id not in self._kept:
            raise UsageError(f"there is no loop {loop_id!r}")
        return self._kept[loop_id]

    async def make(self, capture: Capture, position: Callable[[], int]) -> LoopReady | Refused:
        """Make a loop; what is to be told of it. position: the session's, when that is told."""
        if self._making >= MOST_AT_ONCE:
            said = f"{MOST_AT_ONCE} loops are being made already; wait for one"
            return Refused(position=position(), command=capture.command, reason=said)
        self._making += 1
        try:
            samples = await asyncio.wrap_future(self._runner.run(loop_steps(capture)))
        except Exception as error:  # a loop that cannot be made is told to who asked for it, and ends nothing
            reason = str(error) if isinstance(error, SafaError) else "the loop could not be made"
            if not isinstance(error, SafaError):
                log.error("a loop: %s: %s", type(error).__name__, error)
            return Refused(position=position(), command=capture.command, reason=reason)
        finally:
            self._making -= 1
        loop_id = secrets.token_urlsafe(8)
        self._kept[loop_id] = samples
        while len(self._kept) > LARGEST_LOOPS:
            self._kept.popitem(last=False)
        seconds = samples.shape[1] / self._rate
        return LoopReady(position=position(), command=capture.command, loop=loop_id, seconds=seconds)
