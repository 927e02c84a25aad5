"""What stands for a process: a thread with an event loop and a clock of its own. It can be killed, which closes its
sockets without a word and runs nothing that it would have done; be frozen, and wake again; and have its clock jump."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

#: What is left of a killed island is waited for so long, seconds.
END_SECONDS = 2.0


class Gone(ConnectionError):
    """The island that was called is dead."""


class Clock:
    """time.monotonic, and how far it has jumped; seconds."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.jumped


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose timers go by a clock that can jump."""

    def __init__(self, selector: selectors.BaseSelector, clock: Clock) -> None:
        self._day_clock = clock
        super().__init__(selector)

    def time(self) -> float:
        """Now."""
        return self._day_clock()


class Island:
    """Started when it is made; all methods may be called from any thread. `dying` is called as the last thing there."""

    def __init__(self, name: str, clock: Clock, dying: Callable[[], None] = lambda: None) -> None:
        self.name, self.clock, self.dying = name, clock, dying
        self.dead = False
        self._open = threading.Event()
        self._open.set()
        self._selector = selectors.DefaultSelector()
        self._loop = _Loop(self._selector, clock)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """What a coroutine gives there, for whoever is on another loop. Raises what it raises, Gone where the island
        is dead or dies before it answers."""
        if self.dead:
            raise Gone(f"{self.name} is gone")
        coroutine = work()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise Gone(f"{self.name} is gone") from None
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.dead and (task is None or not task.cancelling()):
                raise Gone(f"{self.name} is gone") from None
            raise

    @property
    def frozen(self) -> bool:
        """Whether nothing goes on there for now."""
        return not self._open.is_set()

    def freeze(self) -> None:
        """Let nothing go on there."""
        self._open.clear()
        self._loop.call_soon_threadsafe(self.hold)

    def wake(self) -> None:
        """Let all go on where it stood."""
        self._open.set()

    def hold(self) -> None:
        """Called there by what is to be frozen: comes back when it is not, and ends the thread of a dead island."""
        self._open.wait()
        if self.dead and threading.current_thread() is not self._thread:
            raise SystemExit

    def kill(self) -> None:
        """End it at once; comes back when it has ended."""
        if not self.dead:
            self.dead = True
            self._open.set()
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._die)
        if threading.current_thread() is not self._thread:
            self._thread.join(10 * END_SECONDS)

    def _die(self) -> None:
        # The system closes a dead process's sockets, and nothing that it had in mind is said any more.
        for key in list(self._selector.get_map().values()):
            with suppress(OSError), socket.socket(fileno=os.dup(key.fd)) as end:
                if end.family in (socket.AF_INET, socket.AF_INET6):  # the others are the loop's own
                    end.shutdown(socket.SHUT_RDWR)
        self._loop.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self.dying()
        self._loop.set_exception_handler(lambda loop, context: None)
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=END_SECONDS))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
