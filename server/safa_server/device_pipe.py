"""The server's end of a sound device's process: start it, send it sound, ask how it stands, end it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import asdict
from typing import Any

from safa_server.device_process import AUDIO, FINISH, HEADER, POLL, REST, Figures, Order
from safa_stream.errors import FailureError, UsageError
from safa_stream.types import FloatArray

#: Seconds that opening a device, an answer, and the end of its sound may take; after GRACE_SECONDS it is killed.
OPEN_SECONDS, ANSWER_SECONDS, CLOSE_SECONDS, GRACE_SECONDS = 20.0, 5.0, 3.0, 1.0
#: Bytes that may wait in the pipe: far more than the device's credit ever lets out.
LARGEST_WAITING = 1 << 23
LONGEST_LINE = 1 << 16


class DeviceProcess:
    """A process with an open device. Make one with `open`; end it with `finish` or `end`. For one event loop."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.opened: dict[str, Any] = {}
        self._sent = self._sent_at_poll = 0

    @classmethod
    async def open(cls, order: Order) -> DeviceProcess:
        """Start the process and let it open the device. Raises UsageError or FailureError in the process's words."""
        # The same code as here, wherever this process found it; -P: never what lies in the working directory.
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "safa_server.device_process",
                stdin=PIPE,
                stdout=PIPE,
                limit=LONGEST_LINE,
                env={**os.environ, "PYTHONPATH": paths},
                # Ctrl-C is for this process, which then ends the other.
                start_new_session=True,
            )
        except OSError as error:
            raise FailureError(f"the sound device's process cannot be started: {error.strerror or error}") from None
        child = cls(process)
        try:
            child._write(json.dumps(asdict(order)).encode() + b"\n")
            child.opened = await child._answer("opened", OPEN_SECONDS)
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def unseen(self) -> int:
        """Samples sent since the last poll, which its figures do not know of."""
        return self._sent - self._sent_at_poll

    def send(self, samples: FloatArray) -> bool:
        """Send sound [channels, N]; False where the process no longer takes any."""
        stdin = self._process.stdin
        if stdin is None or stdin.transport.is_closing() or stdin.transport.get_write_buffer_size() > LARGEST_WAITING:
            return False
        payload = samples.astype("<f4", copy=False).tobytes()
        stdin.write(HEADER.pack(AUDIO, len(payload)) + payload)
        self._sent += samples.shape[1]
        return True

    def rest(self) -> None:
        """Silence is wanted until the next sound."""
        self._write(HEADER.pack(REST, 0))

    async def poll(self) -> Figures:
        """Ask how it stands. Raises FailureError where it does not answer or has ended."""
        self._write(HEADER.pack(POLL, 0))
        sent = self._sent
        answer = await self._answer("figures", ANSWER_SECONDS)
        self._sent_at_poll = sent
        return Figures(**answer)

    async def finish(self, seconds: float) -> None:
        """Let it play what it has, up to `seconds` of sound and latency, and end it."""
        self._write(HEADER.pack(FINISH, 0))
        with contextlib.suppress(FailureError):
            await self._answer("finished", seconds + CLOSE_SECONDS)
        await self.end()

    async def end(self) -> None:
        """End it without waiting for its sound."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._process.wait()
                return
        # It hangs in the sound system.
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def _write(self, data: bytes) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.transport.is_closing():
            stdin.write(data)

    async def _answer(self, event: str, seconds: float) -> dict[str, Any]:
        """The fields of the next line of this event."""
        stdout = self._process.stdout
        if stdout is None:
            raise FailureError("the sound device's process has no output")
        try:
            async with asyncio.timeout(seconds):
                while line := await stdout.readline():
                    found: dict[str, Any] = json.loads(line)
                    kind = found.pop("event")
                    if kind == "failed":
                        raise (UsageError if found["usage"] else FailureError)(found["text"])
                    if kind == event:
                        return found
        except TimeoutError:
            raise FailureError(f"the sound device's process did not answer within {seconds:g} s") from None
        except (ValueError, KeyError):
            raise FailureError("the sound device's process gave an answer that cannot be read") from None
        raise FailureError("the sound device's process has ended")
