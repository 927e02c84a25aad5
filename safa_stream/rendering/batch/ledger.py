"""The ledger of a batch: what was made, a JSON line each, beside the files; how an interrupted batch goes on.

A line is written after its file has got its name, so a file without a line is made again, and a line's file is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safa_stream.errors import OutputError
from safa_stream.rendering.output import reason

NAME = "batch.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """How a job ended. job: its key; error: why there is no file, None where there is one; wall: seconds it took;
    made: what `render` said of the file; size: of the file, in bytes."""

    job: str
    out: str
    error: str | None = None
    wall: float = 0.0
    size: int = 0
    made: dict[str, Any] | None = None


class Ledger:
    """The ledger file of a folder, open for more lines. Use it with `with`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._ends_cleanly()
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {reason(error)}") from None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def done(self) -> dict[str, Entry]:
        """The jobs, by key, whose files are there as they were made."""
        folder = self.path.parent
        return {
            entry.job: entry
            for entry in self._entries()
            if entry.error is None and _size(folder / entry.out) == entry.size
        }

    def write(self, entry: Entry) -> None:
        """Append a line that survives whatever comes next."""
        try:
            self._file.write(json.dumps(asdict(entry)) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {reason(error)}") from None

    def _entries(self) -> Iterator[Entry]:
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            # A line that a crash cut off says nothing.
            with suppress(ValueError, TypeError):
                yield Entry(**json.loads(line))

    def _ends_cleanly(self) -> None:
        """A line that was cut off gets its end, so that the next one begins anew."""
        if self.path.exists() and self.path.stat().st_size:
            with self.path.open("rb+") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
