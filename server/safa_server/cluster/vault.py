"""Sessions beside the disk: what is needed to go on with them where nobody sees the files of the engine that is lost.

A snapshot is a few megabytes, so only the newest of each session is held, and the journal's lines from its mark on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from safa_server.disk import write_private
from safa_server.storage import DESCRIPTION, JOURNAL, SNAPSHOT
from safa_stream.errors import SnapshotError
from safa_stream.session.snapshots import facts_of, marked


@dataclass(frozen=True, slots=True)
class Saved:
    """A session's files at a moment, or only what its journal has got since. snapshot: None where it is as before;
    begin: the journal's first line; lines: of the journal, from byte `at` on; over: it has ended."""

    session: str
    epoch: int
    description: bytes
    begin: bytes
    at: int
    lines: bytes
    snapshot: bytes | None = None
    over: bool = False


class Vault:
    """The newest of every session, without the snapshots: they are held elsewhere, by session."""

    def __init__(self) -> None:
        self._held: dict[str, Saved] = {}

    def keep(self, saved: Saved) -> bool:
        """Take what an engine tells of a session; whether its snapshot, or that it has ended, is news to be held."""
        held = self._held.get(saved.session)
        if held is not None and saved.epoch < held.epoch:
            return False
        if saved.over:
            self._held.pop(saved.session, None)
            return True
        if saved.snapshot is not None:
            self._held[saved.session] = replace(saved, snapshot=None)
            return True
        # Lines that do not follow what is there belong to a snapshot that has not come.
        if held is not None and held.epoch == saved.epoch and saved.at == held.at + len(held.lines):
            self._held[saved.session] = replace(held, lines=held.lines + saved.lines)
        return False

    def find(self, session: str) -> Saved | None:
        """What is known of a session."""
        return self._held.get(session)


def saved_of(place: Path, session: str, epoch: int) -> Saved:
    """A session's files, its snapshot with them. Raises OSError, SnapshotError."""
    snapshot = (place / SNAPSHOT).read_bytes()
    mark = facts_of(snapshot).mark
    with (place / JOURNAL).open("rb") as file:
        begin = file.readline()
        at = max(mark.bytes, len(begin))
        file.seek(at)
        lines = file.read()
    return Saved(session, epoch, (place / DESCRIPTION).read_bytes(), begin, at, lines, snapshot)


def lines_of(place: Path, session: str, epoch: int, at: int) -> Saved:
    """What a session's journal has got since it had `at` bytes. Raises OSError."""
    with (place / JOURNAL).open("rb") as file:
        file.seek(at)
        return Saved(session, epoch, b"", b"", at, file.read())


def write_files(saved: Saved, place: Path) -> None:
    """Write a session's files as an engine needs them to go on. The journal begins with the snapshot: what was before
    is gone with the disk that it was on, and its first line says so. Raises OSError, SnapshotError."""
    if saved.snapshot is None:
        raise SnapshotError(f"session {saved.session} has no snapshot in the cluster's memory")
    begin = json.dumps({**json.loads(saved.begin), "without": saved.at}).encode() + b"\n"
    lines = saved.lines[: saved.lines.rfind(b"\n") + 1]
    mark = replace(facts_of(saved.snapshot).mark, bytes=len(begin))
    place.mkdir(mode=0o700, parents=True, exist_ok=False)
    write_private(place / DESCRIPTION, saved.description)
    write_private(place / SNAPSHOT, marked(saved.snapshot, mark))
    write_private(place / JOURNAL, begin + lines)
