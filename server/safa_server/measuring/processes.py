"""What a process has used, read from /proc; Linux only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safa_stream.errors import FailureError

Read = TypeVar("Read")

PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far. Raises FailureError where it cannot be read."""
    # Fields 14 and 15 of stat, after a name in brackets that may hold anything: user and system ticks.
    ticks = _read(pid, "stat", lambda text: text.rpartition(")")[2].split()[11:13])
    return sum(int(value) for value in ticks) / os.sysconf("SC_CLK_TCK")


def main_thread_seconds(pid: int) -> float:
    """CPU time of a process's first thread so far; a server's event loop runs there. Raises FailureError."""
    return _read(pid, f"task/{pid}/schedstat", lambda text: int(text.split()[0])) / 1e9


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM. Raises FailureError where it cannot be read."""
    return _read(pid, "statm", lambda text: int(text.split()[1])) * os.sysconf("SC_PAGE_SIZE")


def load() -> float:
    """Processes that wanted to run, the mean of the last minute: what else the machine was doing."""
    return os.getloadavg()[0]


def _read(pid: int, name: str, parse: Callable[[str], Read]) -> Read:
    try:
        return parse((PROC / str(pid) / name).read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, IndexError) as error:
        raise FailureError(f"cannot read {PROC}/{pid}/{name}, which measuring needs: {error}") from None
