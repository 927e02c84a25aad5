"""A program of another maker that takes sound on its standard input: started, fed, ended; its last words are kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from safa_stream.errors import FailureError, UsageError

#: Debian's package of each program.
PACKAGES = {
    "ffmpeg": "ffmpeg",
    "gst-launch-1.0": "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good",
}
GRACE_SECONDS = 1.0
LARGEST_READ = 4096
MOST_WORDS = 300


def need(program: str) -> None:
    """Raise UsageError with what has to be installed where a program is missing."""
    if shutil.which(program) is None:
        package = PACKAGES.get(program, program)
        raise UsageError(f"{program} is not installed: apt-get install --no-install-recommends {package}")


class Child:
    """A running program. Make one with `start`; end it with `finish` or `end`. For one event loop."""

    def __init__(self, program: str, process: Process) -> None:
        self._program, self._process = program, process
        self._words = ""
        self._listening = asyncio.create_task(self._listen(), name=f"{program}'s words")
        assert process.stdin is not None
        # The kernel's pipe is room enough: what waits beyond it waits where the oldest can give way.
        process.stdin.transport.set_write_buffer_limits(high=0)

    @classmethod
    async def start(cls, command: Sequence[str]) -> Child:
        """Start a program whose name comes first. Raises UsageError or FailureError."""
        need(command[0])
        # Nothing in this program's settings is the other one's business, passwords least of all.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SAFA_")}
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=environment,
                # Ctrl-C is for this process, which then ends the other.
                start_new_session=True,
            )
        except OSError as error:
            raise FailureError(f"{command[0]} cannot be started: {error.strerror or error}") from None
        return cls(command[0], process)

    @property
    def output(self) -> asyncio.StreamReader:
        """What it writes."""
        assert self._process.stdout is not None
        return self._process.stdout

    async def feed(self, data: bytes) -> None:
        """Write to its input; waits while it takes no more. Raises FailureError where it has ended."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(data)
            await stdin.drain()
        except OSError:
            raise FailureError(await self.ended()) from None

    async def ended(self) -> str:
        """Wait until it has ended, and say why."""
        code = await self._process.wait()
        await asyncio.wait({self._listening}, timeout=GRACE_SECONDS)
        why = self._words or (f"by signal {-code}" if code < 0 else f"with status {code}")
        return f"{self._program} has ended: {why}"

    def close_input(self) -> None:
        """Nothing more comes: it ends when it has sent all."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def finish(self, seconds: float) -> None:
        """Let it end by itself within `seconds`, else end it."""
        self.close_input()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        await self.end()

    async def end(self) -> None:
        """End it now."""
        self.close_input()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.wait({self._listening}, timeout=GRACE_SECONDS)
        self._listening.cancel()

    async def _listen(self) -> None:
        """Keep the last line that it said of what went wrong."""
        assert self._process.stderr is not None
        tail = ""
        while heard := await self._process.stderr.read(LARGEST_READ):
            tail = (tail + heard.decode(errors="replace"))[-LARGEST_READ:]
            lines = [" ".join(line.split()) for line in tail.splitlines() if line.strip()]
            self._words = lines[-1][:MOST_WORDS] if lines else ""
