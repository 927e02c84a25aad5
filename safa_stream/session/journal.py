"""The journal: what was asked of a session and when, as JSON lines; enough to play a performance again to the bit.

    {"type": "begin", "format": "safa-journal-1", "model": ..., "version": ..., "scene": {...}, "block": 960}
    {"type": "command", "position": 96000, "number": 3, "command": {"type": "mix", "layer": 0, "gain": -6.0}}
    {"type": "start", "position": ..., "layer": 0, "steps": null, "expected": 0.61}
    {"type": "complete", "position": ..., "layer": 0}
    {"type": "at", "position": ...}         how far the session was heard, now and then
    {"type": "pause", "position": ...}      the clock was stopped here, "play": and let go on
    {"type": "once", "position": ..., "name": ..., "number": 3}   what a command's sender calls it, not to say it twice
    {"type": "restored", "position": ...}   the server began again here; views in the making were begun again
    {"type": "end", "position": ...}

Starts and completions are there because the sound depends on when a view was begun and when it was ready.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safa_stream.errors import OutputError, SnapshotError
from safa_stream.session.codec import command_from_json, command_to_json
from safa_stream.session.messages import Command

FORMAT = "safa-journal-1"
KINDS = ("begin", "command", "start", "complete", "at", "play", "pause", "once", "restored", "end")
#: What a session's clock writes: the session itself counts no such lines.
CLOCK_KINDS = frozenset(("at", "play", "pause", "once"))
LONGEST_LINE = 1 << 20
#: Bytes that wait for a disk that takes nothing; a journal that would keep more waiting is given up.
MOST_WAITING = 4 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: what happened, when on the session's clock, and what belongs to it."""

    kind: str
    position: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a journal's file. lines: of the session's own before it (the clock's and "begin" do not count); bytes:
    where the next line begins."""

    lines: int = 0
    bytes: int = 0


def _opened(path: Path) -> BinaryIO:
    return path.open("ab", buffering=0)


class Journal:
    """Appends lines to a file; each is on its way to the disk when `write` returns, unless the journal is `behind`."""

    def __init__(
        self,
        path: Path,
        begin: dict[str, Any] | None = None,
        lines: int = 0,
        opened: Callable[[Path], BinaryIO] = _opened,
    ) -> None:
        """begin: the first line's values, for a journal that begins here; lines: of the session's own in the file;
        opened: gives the file, to be written at its end without a buffer.

        Raises OutputError.
        """
        self._waiting, self._problem = bytearray(), ""
        try:
            self._file = opened(path)
        except OSError as error:
            raise OutputError(f"cannot write the journal {path}: {error.strerror}") from error
        self.path, self.mark = path, Mark(lines, self._file.tell())
        if begin is not None:
            self.write([{"type": "begin", "position": 0, "format": FORMAT, **begin}])
            if self.behind:
                self._file.close()
                raise OutputError(f"cannot write the journal {path}: {self.problem}")

    @property
    def behind(self) -> int:
        """Bytes that the disk has not taken yet: it was full, say. They go first when it takes some again."""
        return len(self._waiting)

    @property
    def problem(self) -> str:
        """Why it is behind."""
        return self._problem

    def write(self, lines: Sequence[dict[str, Any]]) -> None:
        """Append. Raises OutputError where the disk has taken nothing for so long that too much waits for it."""
        data = "".join(json.dumps(plain(line), ensure_ascii=False) + "\n" for line in lines).encode()
        self._waiting += data
        self._catch_up()
        if self.behind > MOST_WAITING:
            raise OutputError(f"cannot write the journal {self.path}: {self.problem}")
        own = sum(line["type"] != "begin" and line["type"] not in CLOCK_KINDS for line in lines)
        self.mark = Mark(self.mark.lines + own, self.mark.bytes + len(data))

    def settled(self) -> bool:
        """Whether the disk has all of it, after one more try with what waits."""
        self._catch_up()
        return not self.behind

    def close(self) -> None:
        """No more lines."""
        if not self._file.closed:
            self._catch_up()
            self._file.close()

    def _catch_up(self) -> None:
        """Write what waits, as far as the disk takes it."""
        try:
            while self._waiting:
                with memoryview(self._waiting) as waiting:
                    taken = self._file.write(waiting)
                del self._waiting[:taken]
        except OSError as error:
            self._problem = error.strerror or str(error)


def plain(line: dict[str, Any]) -> dict[str, Any]:
    """A line as JSON values."""
    return {k: command_to_json(v) if isinstance(v, Command) else v for k, v in line.items()}


def read_journal(path: Path, begins: int = 0) -> Iterator[Entry]:
    """The entries of a journal; a last line that was cut off by a crash is left out.

    begins: the byte where a later line begins, to read on from there. Raises SnapshotError naming what line is wrong.
    """
    behind = "" if begins == 0 else f" after byte {begins}"
    try:
        with path.open("rb") as file:
            file.seek(begins)
            for number, line in enumerate(file, start=1):
                where = f"{path}, line {number}{behind}"
                entry = _entry(line.decode(), where)
                if entry is None:
                    return
                if (number == 1 and begins == 0) != (entry.kind == "begin"):
                    raise SnapshotError(f"{where}: a journal begins with its 'begin' line, and has one")
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
