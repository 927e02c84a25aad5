"""Who keeps a session's files: a folder for each epoch, which one engine alone can make.

    FOLDER/SESSION/000001/{session.json, journal.jsonl, snapshot.safetensors, ...}     the engine where it began
                   000002/...                                                           the one that took over

An engine that was given up, and lives on all the same, writes into its own epoch's folder, which nobody reads any more.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from safa_server.disk import Disk
from safa_server.storage import DESCRIPTION, EARLIER, JOURNAL, SNAPSHOT
from safa_stream.errors import SnapshotError

FIRST = 1


class Over(SnapshotError):
    """The session has ended as it should: nobody has to go on with it."""


_FILES = (DESCRIPTION, SNAPSHOT, EARLIER, JOURNAL)


def place_of(folder: Path, session_id: str, epoch: int) -> Path:
    """Where a session's files of an epoch are."""
    return folder / session_id / f"{epoch:06d}"


def epochs(folder: Path, session_id: str) -> list[int]:
    """The epochs that there are folders of, in order."""
    place = folder / session_id
    return sorted(int(one.name) for one in place.iterdir() if one.name.isdecimal()) if place.is_dir() else []


def claim(folder: Path, session_id: str, epoch: int, disk: Disk | None = None) -> Path:
    """Make the folder of an epoch and copy there what the newest earlier one has; gives the folder.

    The journal is copied last: what is read from it later is no older than any snapshot. Raises SnapshotError where
    somebody has claimed this epoch or a later one, or there is nothing to go on from, and OSError where the disk does
    not take the copies: the claim is given back then, so that a later one goes on from what is whole.
    """
    known = epochs(folder, session_id)
    if not known:
        raise SnapshotError(f"session {session_id} has no files in {folder}")
    if known[-1] >= epoch:
        raise SnapshotError(f"session {session_id} was claimed at epoch {known[-1]} already, {epoch} comes too late")
    before, place = place_of(folder, session_id, known[-1]), place_of(folder, session_id, epoch)
    if not (before / DESCRIPTION).exists():
        raise Over(f"session {session_id} has ended")
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        raise SnapshotError(f"session {session_id} was claimed at epoch {epoch} by somebody else") from None
    try:
        for name in _FILES:
            if (before / name).exists():
                (disk or Disk()).copy(before / name, place / name)
        _drop_half_a_line(place / JOURNAL)
    except OSError:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return place


def forget_before(folder: Path, session_id: str, epoch: int) -> None:
    """Remove what earlier epochs left: a later one has all of it."""
    for known in epochs(folder, session_id):
        if known < epoch:
            shutil.rmtree(place_of(folder, session_id, known), ignore_errors=True)


def _drop_half_a_line(journal: Path) -> None:
    """What a killed process wrote last may be half a line; the next one has to begin on a line of its own."""
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        size = file.seek(0, 2)
        while size > 0:
            begins = max(0, size - 65536)
            file.seek(begins)
            at = file.read(size - begins).rfind(b"\n")
            if at >= 0:
                file.truncate(begins + at + 1)
                return
            size = begins
