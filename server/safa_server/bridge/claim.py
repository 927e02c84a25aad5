"""A plugin's segment as a file that one bridge at a time serves."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

from safa_server.bridge.segment import Segment, SegmentError


class Claim:
    """One bridge a segment: a lock on its file, which ends with its process, however that ends, or with `close`."""

    def __init__(self, path: Path) -> None:
        """Raises SegmentError where another has it, or the file is gone."""
        try:
            self.file = path.open("r+b")
        except OSError as error:
            raise SegmentError(f"cannot open it: {error.strerror}") from None
        try:
            self._lock(True)
        except OSError:
            self.file.close()
            raise SegmentError("another bridge serves it") from None

    def close(self) -> None:
        """Let others have it."""
        # Closing alone would not do: the memory holds the file open for as long as anything refers to it.
        self._lock(False)
        self.file.close()

    def _lock(self, on: bool) -> None:
        if sys.platform == "win32":
            import msvcrt

            self.file.seek(32)
            msvcrt.locking(self.file.fileno(), msvcrt.LK_NBLCK if on else msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(self.file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB if on else fcntl.LOCK_UN)


def open_segment(path: Path) -> tuple[Segment, Claim]:
    """A segment, and what makes it this process's alone. Raises SegmentError as both do."""
    claim = Claim(path)
    try:
        return Segment(memoryview(mmap.mmap(claim.file.fileno(), 0))), claim
    except ValueError:
        claim.close()
        raise SegmentError("it is no plugin's segment: it is empty") from None
    except SegmentError:
        claim.close()
        raise
