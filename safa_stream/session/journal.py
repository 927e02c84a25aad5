"""The journal: what was asked of a session and when, as JSON lines; enough to play a performance again to the bit.

    {"type": "begin", "format": "safa-journal-1", "model": ..., "version": ..., "scene": {...}, "block": 960}
    {"type": "command", "position": 96000, "number": 3, "command": {"type": "mix", "layer": 0, "gain": -6.0}}
    {"type": "start", "position": ..., "layer": 0, "steps": null, "expected": 0.61}
    {"type": "complete", "position": ..., "layer": 0}
    {"type": "at", "position": ...}         how far the session was heard, now and then
    {"type": "restored", "position": ...}   the server began again here; views in the making were begun again
    {"type": "end", "position": ...}

Starts and completions are there because the sound depends on when a view was begun and when it was ready.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from safa_stream.errors import OutputError, SnapshotError
from safa_stream.session.codec import command_from_json, command_to_json
from safa_stream.session.messages import Command

FORMAT = "safa-journal-1"
KINDS = ("begin", "command", "start", "complete", "at", "restored", "end")
LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: what happened, when on the session's clock, and what belongs to it."""

    kind: str
    position: int
    values: dict[str, Any]


class Journal:
    """Appends lines to a file; each is on its way to the disk when `write` returns."""

    def __init__(self, path: Path, begin: dict[str, Any] | None = None) -> None:
        """begin: the first line's values, for a journal that begins here. Raises OutputError."""
        try:
            self._file: TextIO = path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write the journal {path}: {error.strerror}") from error
        self.path = path
        if begin is not None:
            self.write([{"type": "begin", "position": 0, "format": FORMAT, **begin}])

    def write(self, lines: Sequence[dict[str, Any]]) -> None:
        """Append. Raises OutputError."""
        try:
            for line in lines:
                self._file.write(json.dumps(plain(line), ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write the journal {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def plain(line: dict[str, Any]) -> dict[str, Any]:
    """A line as JSON values."""
    return {k: command_to_json(v) if isinstance(v, Command) else v for k, v in line.items()}


def read_journal(path: Path) -> Iterator[Entry]:
    """The entries of a journal; a last line that was cut off by a crash is left out.

    Raises SnapshotError naming the line that is wrong.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                entry = _entry(line, f"{path}, line {number}")
                if entry is None:
                    return
                if (number == 1) != (entry.kind == "begin"):
                    raise SnapshotError(f"{path}, line {number}: a journal begins with its 'begin' line, and has one")
                yield entry
    except (OSError, UnicodeDecodeError) as error:
        raise SnapshotError(f"cannot read the journal {path}: {error}") from error


def _entry(line: str, where: str) -> Entry | None:
    if not line.endswith("\n"):
        return None
    if len(line) > LONGEST_LINE:
        raise SnapshotError(f"{where}: longer than any journal's line")
    try:
        values = json.loads(line)
        kind, position = values.pop("type"), values.pop("position")
        if kind not in KINDS or not isinstance(position, int) or position < 0:
            raise ValueError(f"unknown entry {kind!r} at {position!r}")
        if kind == "begin" and values.get("format") != FORMAT:
            raise ValueError(f"the format is {values.get('format')!r}, not {FORMAT!r}")
        if kind == "command":
            values["command"] = command_from_json(values["command"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(f"{where}: {error}") from None
    return Entry(kind, position, values)
