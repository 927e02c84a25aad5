"""Loops that were captured from a session: made on the engine's thread, the latest of them kept on disk to be fetched.

A loop of 100 s is 38 MB of sound that is fetched once, if at all. So loops wait on disk, in files that have no name and
are gone with the process (folder: TMPDIR), and a session's memory does not depend on how many it was asked for.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from typing import IO

import numpy as np

from safa_server.runner import Runner
from safa_stream.errors import OutputError, SafaError, UsageError
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
        self._kept: OrderedDict[str, IO[bytes]] = OrderedDict()
        self._making = 0

    def wav(self, loop_id: str) -> bytes:
        """A loop as a WAV file. Raises UsageError where there is none of that name."""
        if loop_id not in self._kept:
            raise UsageError(f"there is no loop {loop_id!r}")
        file = self._kept[loop_id]
        file.seek(0)
        return file.read()

    async def make(self, capture: Capture, position: Callable[[], int]) -> LoopReady | Refused:
        """Make a loop; what is to be told of it. position: the session's, when that is told."""
        if self._making >= MOST_AT_ONCE:
            said = f"{MOST_AT_ONCE} loops are being made already; wait for one"
            return Refused(position=position(), command=capture.command, reason=said)
        self._making += 1
        try:
            file = await self._made(capture)
        except Exception as error:  # a loop that cannot be made is told to who asked for it, and ends nothing
            reason = str(error) if isinstance(error, SafaError) else "the loop could not be made"
            if not isinstance(error, SafaError):
                log.error("a loop: %s: %s", type(error).__name__, error)
            return Refused(position=position(), command=capture.command, reason=reason)
        finally:
            self._making -= 1
        loop_id = secrets.token_urlsafe(8)
        self._kept[loop_id] = file
        while len(self._kept) > LARGEST_LOOPS:
            self._kept.popitem(last=False)[1].close()
        seconds = capture.length / self._rate
        return LoopReady(position=position(), command=capture.command, loop=loop_id, seconds=seconds)

    async def _made(self, capture: Capture) -> IO[bytes]:
        """A loop's file, written while it is made. Raises OutputError where the disk does not take it."""
        try:
            file = tempfile.TemporaryFile(prefix="safa-loop-")
            try:
                channels = capture.channels
                head = header(channels, capture.length, self._rate)
                file.write(head)

                def write(at: int, piece: FloatArray) -> None:
                    file.seek(len(head) + at * channels * 4)
                    file.write(np.ascontiguousarray(piece.T, "<f4").data)

                await asyncio.wrap_future(self._runner.run(loop_steps(capture, write)))
            except BaseException:
                file.close()
                raise
        except OSError as error:
            raise OutputError(f"the loop cannot be kept in {tempfile.gettempdir()}: {error.strerror}") from error
        return file

    def close(self) -> None:
        """Forget all loops."""
        while self._kept:
            self._kept.popitem()[1].close()


def header(channels: int, frames: int, rate: int) -> bytes:
    """What a WAV file of 32-bit floats begins with; its interleaved samples follow."""
    size = frames * channels * 4
    form = struct.pack("<HHIIHHH", 3, channels, rate, rate * channels * 4, channels * 4, 32, 0)
    chunks = b"".join((b"fmt ", struct.pack("<I", len(form)), form, b"fact", struct.pack("<II", 4, frames), b"data"))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + 4 + size) + b"WAVE" + chunks + struct.pack("<I", size)
