"""A server in a process of its own, started for a measurement and stopped whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safa_server.measuring.processes import as_urgent, cpu_seconds, main_thread_seconds, resident_bytes
from safa_stream.errors import FailureError

Result = TypeVar("Result")
#: Takes one line of progress.
Report = Callable[[str], None]

START_SECONDS, STOP_SECONDS = 300.0, 30.0
_COMMAND = "import sys; from safa_stream.cli import main; sys.exit(main())"
#: Log lines that no client, however bad, may cause.
_ALARMING = re.compile(r"^\S+ \S+ (ERROR|CRITICAL) ")
_TIMED = re.compile(r"^\d{4}-\d\d-\d\d ")
_END = "0000-00-00 "
_METRIC = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that takes connections. log: the file that its standard error goes to."""

    host: str
    port: int
    pid: int
    process: Process
    log: Path

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://{self.host}:{self.port}/ws"

    def check(self) -> None:
        """Raise FailureError where it has ended."""
        if self.process.returncode is not None:
            raise FailureError(f"the server ended with code {self.process.returncode}: {self._last_line()}")

    def cpu(self) -> tuple[float, float]:
        """CPU seconds so far of the whole process and of its event loop."""
        self.check()
        return cpu_seconds(self.pid), main_thread_seconds(self.pid)

    def memory(self) -> int:
        """Bytes in RAM."""
        self.check()
        return resident_bytes(self.pid)

    def alarms(self) -> list[str]:
        """Lines of its log that no client may cause, each with the last line of the trace that follows it."""
        alarms: list[str] = []
        alarm, trace = "", ""
        for line in [*self.log.read_text(encoding="utf-8", errors="replace").splitlines(), _END]:
            if not _TIMED.search(line) and (alarm or line.startswith("Traceback")):
                alarm, trace = alarm or line, line.strip() or trace
                continue
            if alarm:
                alarms.append(f"{alarm}: {trace}" if trace else alarm)
            alarm, trace = line if _ALARMING.search(line) else "", ""
        return alarms

    async def metrics(self) -> dict[str, float]:
        """What it counts, by name with labels. It counts anew once a second."""
        text = await self._get("/metrics")
        found = (_METRIC.match(line) for line in text.splitlines())
        return {match[1]: float(match[2]) for match in found if match}

    async def _get(self, path: str) -> str:
        self.check()
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await asyncio.wait_for(reader.read(-1), 60)).decode().partition("\r\n\r\n")
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            raise FailureError(f"the server did not answer a request for {path}: {error or 'in time'}") from None
        if " 200 " not in head.partition("\r\n")[0]:
            raise FailureError(f"the server answered a request for {path} with {head.partition(chr(13))[0]!r}")
        return body

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@asynccontextmanager
async def running(flags: tuple[str, ...], report: Report) -> AsyncIterator[Running]:
    """`safa-stream serve` on a free port of this machine, with `flags` besides; gone when the context is left.

    Raises FailureError where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="safa-measure-") as folder:
        ready, log = Path(folder) / "ready.json", Path(folder) / "log"
        command = ["serve", "--port", "0", "--osc-port", "-1", "--ready-file", str(ready), "--quiet", *flags]
        # Settings of the person who measures would change what is measured.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SAFA_")}
        with log.open("wb") as errors:
            # In a session of its own: Ctrl-C comes to this process only, which then ends the server in order.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _COMMAND,
                *command,
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        try:
            as_urgent(process.pid)
            report("starting a server")
            address = await _ready(process, ready, log)
            server = Running(address["host"], address["port"], address["pid"], process, log)
            yield server
            server.check()
        finally:
            await stop(process)


async def within(seconds: float, what: str, wanted: Awaitable[Result]) -> Result:
    """The result of what is awaited. Raises FailureError where it does not come in time."""
    try:
        return await asyncio.wait_for(wanted, seconds)
    except TimeoutError:
        raise FailureError(f"{what} did not come within {seconds:g} s") from None


async def stop(process: Process) -> None:
    """End a child process in order, or by force where it does not go."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def measured(measurement: Coroutine[Any, Any, Result]) -> Result:
    """Run a measurement on an event loop of its own. SIGTERM and Ctrl-C stop it in order, in the background too."""

    async def stoppable() -> Result:
        task = asyncio.ensure_future(measurement)
        # A shell starts background jobs with Ctrl-C ignored, and Python would leave it so.
        with suppress(NotImplementedError):
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _ready(process: Process, ready: Path, log: Path) -> dict[str, Any]:
    """What the ready file says, once it is there."""
    loop = asyncio.get_running_loop()
    end = loop.time() + START_SECONDS
    while not ready.exists():
        if process.returncode is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise FailureError(f"the server did not start: {lines[-1] if lines else 'it said nothing'}")
        if loop.time() > end:
            raise FailureError(f"the server was not ready within {START_SECONDS:g} s")
        await asyncio.sleep(0.02)
    found: dict[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
    return found
