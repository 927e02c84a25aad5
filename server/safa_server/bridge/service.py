"""The bridge: looks for plugins that hosts have put to use, and gives each a session of the server.

Where no server is given and none runs on this machine, it starts one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path

from safa_server.bridge import folder as plugins
from safa_server.bridge.claim import Claim, open_segment
from safa_server.bridge.instance import Instance, ServerAddress
from safa_server.bridge.slots import read_prompts_file
from safa_server.serve import stop_on_signals
from safa_stream.errors import FailureError, SafaError, UsageError
from safa_stream.session.livescene import LiveScene

#: Between two looks at the folder and the prompts file.
LOOK_SECONDS = 0.2
#: How long a server that was started may take to stop.
STOP_SECONDS = 15.0
_COMMAND = "import sys; from safa_stream.cli.main import main; sys.exit(main())"

log = logging.getLogger("safa_server.bridge")


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """url: the server's WebSocket, None is this machine's, on `port`, which is started where it does not run, with the
    flags `serve`; scene: what a plugin begins with whose project holds nothing; prompts: file of the slots' texts;
    lead: seconds of sound that the server keeps ahead of a plugin; folder: where plugins leave their segments."""

    folder: Path
    url: str | None = None
    port: int = 8600
    token: str | None = None
    serve: tuple[str, ...] = ()
    scene: LiveScene | None = None
    prompts: Path | None = None
    lead: float | None = None


class Bridge:
    """See the module."""

    def __init__(self, settings: BridgeSettings) -> None:
        """Raises UsageError where the prompts file cannot be."""
        self._settings = settings
        url = settings.url or f"ws://127.0.0.1:{settings.port}/ws"
        self._server = ServerAddress(url, settings.token, settings.lead)
        self._served: dict[Path, tuple[asyncio.Task[None], Claim, int]] = {}
        self._refused: dict[Path, str] = {}
        self._process: Process | None = None
        self._answered = False
        self._slots: dict[int, tuple[str, ...]] = {}
        self._read_at = 0
        if settings.prompts is not None:
            self._read_prompts(settings.prompts)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve plugins until `stop` is set. Raises FailureError where the folder cannot be, or no server starts."""
        plugins.prepare(self._settings.folder)
        try:
            while not stop.is_set():
                if self._settings.url is None:
                    await self._keep_server()
                self._look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
        finally:
            for path in list(self._served):
                await self._leave(path)
            await self._stop_server()

    def _look(self) -> None:
        """Serve segments that are new, leave those that are gone, remove those whose process is."""
        found = plugins.segments(self._settings.folder)
        for path in [*self._served]:
            task, _, process = self._served[path]
            if path not in found or not plugins.lives(process) or task.done():
                self._spawn_leave(path)
        for path in self._refused.keys() - set(found):
            del self._refused[path]
        for path in found:
            if path not in self._served:
                self._serve(path)
        if self._settings.prompts is not None:
            try:
                self._read_prompts(self._settings.prompts)
            except UsageError as error:
                log.warning("%s", error)

    def _serve(self, path: Path) -> None:
        try:
            segment, claim = open_segment(path)
        except SafaError as error:
            # Another bridge may let go of it one day: it is tried again, and this is said once.
            if self._refused.get(path) != str(error):
                self._refused[path] = str(error)
                log.warning("%s: %s", path.name, error)
            return
        if not plugins.lives(segment.process):
            log.info("%s: its host is gone, it is removed", path.name)
            claim.close()
            path.unlink(missing_ok=True)
            return
        instance = Instance(path.stem, segment, self._server, self._settings.scene, self._slots.get)
        task = asyncio.get_running_loop().create_task(instance.run(), name=path.stem)
        self._served[path] = task, claim, segment.process
        log.info("%s: a plugin of process %d", path.stem, segment.process)

    def _spawn_leave(self, path: Path) -> None:
        task, claim, process = self._served.pop(path)
        log.info("%s: gone", path.stem)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            # Serving it failed where nothing should: it is tried again with the next look.
            log.error("%s: %s: %s", path.stem, type(error).__name__, error)
        task.cancel()
        task.add_done_callback(lambda _: claim.close())
        if not plugins.lives(process):
            path.unlink(missing_ok=True)

    async def _leave(self, path: Path) -> None:
        task, claim, _ = self._served.pop(path)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        claim.close()

    def _read_prompts(self, path: Path) -> None:
        """The prompts file, where it has changed. Raises UsageError."""
        try:
            changed = path.stat().st_mtime_ns
            if changed == self._read_at:
                return
            self._read_at = changed
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the prompts {path}: {error}") from None
        try:
            found = read_prompts_file(text)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        self._slots.clear()
        self._slots.update(found)

    async def _keep_server(self) -> None:
        """Start a server where none answers on this machine's port."""
        runs = self._process is not None and self._process.returncode is None
        if runs and self._answered:
            return
        if await _answers(self._settings.port):
            self._answered = True
            return
        if runs:
            return
        if self._process is not None:
            code = self._process.returncode
            if not self._answered:
                raise FailureError(f"the server that was started ended with code {code}; what it said stands above")
            log.warning("the server has ended with code %s; it is started again", code)
        self._answered = False
        log.info("starting safa-stream serve on port %d", self._settings.port)
        flags = ["serve", "--port", str(self._settings.port), "--quiet", *self._settings.serve]
        # Other users of the machine see flags, and no variables.
        variables = {**os.environ, "SAFA_TOKEN": self._settings.token} if self._settings.token else None
        self._process = await asyncio.create_subprocess_exec(
            # In a session of its own: Ctrl-C comes to this process only, which then ends the server in order.
            sys.executable, "-c", _COMMAND, *flags, stdin=DEVNULL, stdout=DEVNULL, start_new_session=True, env=variables
        )  # fmt: skip

    async def _stop_server(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def run(settings: BridgeSettings) -> None:
    """`Bridge` on an event loop of its own, until SIGTERM or SIGINT comes."""

    async def alone() -> None:
        await Bridge(settings).run(stop_on_signals())

    asyncio.run(alone())


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1.0)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
