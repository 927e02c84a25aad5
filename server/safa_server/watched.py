"""A value that is made from files, and made anew when they change; a broken new version leaves the old value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from safa_stream.errors import SafaError

log = logging.getLogger("safa_server.watched")

Value = TypeVar("Value")


class Watched(Generic[Value]):
    """what: its name in the log; files: what it is made from, which need not all be there; read: makes it.

    Making it for the first time raises what `read` raises.
    """

    def __init__(self, what: str, files: Sequence[Path], read: Callable[[], Value]) -> None:
        self._what, self._files, self._read = what, tuple(files), read
        # Before it is read: what changes while it is read is seen by the next look.
        self._seen = self._stamps()
        self.value = read()

    def look(self) -> bool:
        """Make the value anew where a file has changed; whether there is a new one. A failure is a line in the log."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        try:
            self.value = self._read()
        except SafaError as error:
            reason = " ".join(str(error).split())
            log.error("%s: the new version is not used, the old one stays: %s", self._what, reason)
            return False
        log.info("%s: a new version is used", self._what)
        return True

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes with a file: inode (replaced), time and size (written in place)."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
