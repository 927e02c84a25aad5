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
from collections.abc import Callable, Iterator
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
            samples = await asyncio.wrap_future(self._runner.run(loop_steps(capture)))
            file = await _on_disk(wav(samples, self._rate))
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
        seconds = samples.shape[1] / self._rate
        return LoopReady(position=position(), command=capture.command, loop=loop_id, seconds=seconds)

    def close(self) -> None:
        """Forget all loops."""
        while self._kept:
            self._kept.popitem()[1].close()


def wav(samples: FloatArray, rate: int) -> Iterator[bytes]:
    """[channels, N] as a WAV file of 32-bit floats, piece by piece: the same samples always give the same bytes."""
    channels, frames = samples.shape
    size = frames * channels * 4
    form = struct.pack("<HHIIHHH", 3, channels, rate, rate * channels * 4, channels * 4, 32, 0)
    head = (b"fmt ", struct.pack("<I", len(form)), form, b"fact", struct.pack("<II", 4, frames), b"data")
    chunks = b"".join((*head, struct.pack("<I", size)))
    yield b"RIFF" + struct.pack("<I", 4 + len(chunks) + size) + b"WAVE" + chunks
    for at in range(0, frames, rate):
        yield np.ascontiguousarray(samples[:, at : at + rate].T, "<f4").tobytes()


async def _on_disk(content: Iterator[bytes]) -> IO[bytes]:
    """A file that nobody else sees. Raises OutputError where the disk does not take it."""
    try:
        file = tempfile.TemporaryFile(prefix="safa-loop-")
        try:
            await asyncio.to_thread(_write, file, content)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise OutputError(f"the loop cannot be kept in {tempfile.gettempdir()}: {error.strerror}") from error
    return file


def _write(file: IO[bytes], content: Iterator[bytes]) -> None:
    file.writelines(content)
    file.flush()
