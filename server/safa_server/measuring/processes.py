"""What a process has used, read from /proc, and how urgent it is; Linux only."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from safa_stream.errors import FailureError

Read = TypeVar("Read")

PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far. Raises FailureError where it cannot be read."""
    # Fields 14 and 15 of stat, after a name in brackets that may hold anything: user and system ticks.
    ticks = _read(f"{pid}/stat", lambda text: text.rpartition(")")[2].split()[11:13])
    return sum(int(value) for value in ticks) / os.sysconf("SC_CLK_TCK")


def main_thread_seconds(pid: int) -> float:
    """CPU time of a process's first thread so far; a server's event loop runs there. Raises FailureError."""
    return _read(f"{pid}/task/{pid}/schedstat", lambda text: int(text.split()[0])) / 1e9


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM. Raises FailureError where it cannot be read."""
    return _read(f"{pid}/statm", lambda text: int(text.split()[1])) * os.sysconf("SC_PAGE_SIZE")


def busy_seconds() -> float:
    """CPU time of all processes on all cores so far, and what the host took from this machine. Raises FailureError."""
    # Ticks of user, nice, system, idle, iowait, irq, softirq, steal; the guests after them are in user already.
    ticks = _read("stat", lambda text: [int(value) for value in text.split()[1:9]])
    return (sum(ticks[:3]) + sum(ticks[5:])) / os.sysconf("SC_CLK_TCK")


def as_urgent(pid: int) -> None:
    """Give a process in a session of its own the priority of this one, where Linux lets that count at all.

    With autogroups, nice weighs processes of one session only; between sessions a value of the session's own does.
    """
    with suppress(OSError):
        (PROC / str(pid) / "autogroup").write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))


def load() -> float:
    """Processes that wanted to run, the mean of the last minute: what else the machine was doing."""
    return os.getloadavg()[0]


def _read(name: str, parse: Callable[[str], Read]) -> Read:
    try:
        return parse((PROC / name).read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, IndexError) as error:
        raise FailureError(f"cannot read {PROC}/{name}, which measuring needs: {error}") from None
