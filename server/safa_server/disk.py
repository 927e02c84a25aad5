"""The disk that sessions are kept on, as the few things that are done with it. Another can be handed in: one that is
slow or full, to see what becomes of the sessions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO


class Disk:
    """Called on any thread. Everything here raises OSError where the disk does not do it."""

    def append(self, path: Path) -> BinaryIO:
        """A file to be written at its end, without a buffer: what `write` took is on its way to the disk."""
        return path.open("ab", buffering=0)

    def write(self, path: Path, data: bytes, earlier: Path | None = None) -> None:
        """See write_private."""
        write_private(path, data, earlier)

    def copy(self, source: Path, target: Path) -> None:
        """A file's bytes and rights."""
        shutil.copy2(source, target)


def write_private(path: Path, data: bytes, earlier: Path | None = None) -> None:
    """Write a file that only its owner can read; it is there as a whole or not at all. earlier: where to leave the file
    that it replaces. Raises OSError."""
    partial = path.with_suffix(".partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if earlier is not None and path.exists():
        path.replace(earlier)
    partial.replace(path)
