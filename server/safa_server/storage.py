"""Sessions on disk: a journal of all that happened, a snapshot of how it stands, and who may come back to it.

    FOLDER/SESSION/session.json          id, token, pacing, lead (readable by its owner only)
                   journal.jsonl         the whole performance; `safa-stream replay` makes it again
                   snapshot.safetensors  the newest, written after views; holds how many journal lines it contains

A session is restored from its snapshot, then the journal's later lines are carried out again: what is lost is what was
not yet written, less than a second.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safa_server.live import Live
from safa_stream.errors import OutputError, SafaError, SnapshotError
from safa_stream.models.interface import Model
from safa_stream.session import snapshots
from safa_stream.session.journal import Journal, read_journal
from safa_stream.session.replay import Again
from safa_stream.session.session import Session

log = logging.getLogger("safa_server.storage")

DESCRIPTION, JOURNAL, SNAPSHOT = "session.json", "journal.jsonl", "snapshot.safetensors"
#: A snapshot is made at most so often; one with views in the making only when there was none for the longer time.
LEAST_SECONDS, LONGEST_SECONDS = 2.0, 15.0
FORMAT = "safa-session-1"


@dataclass(frozen=True, slots=True)
class Kept:
    """A session as it was found: what its station is to be made with."""

    session: Session
    session_id: str
    token: str
    pacing: str
    lead_seconds: float
    name: str | None
    journal: Journal


class Storage:
    """The folder of one server. `after_view` runs on the engine's thread, the rest on the event loop."""

    def __init__(self, folder: Path, model: Model, block: int) -> None:
        """Raises OutputError where the folder cannot be made or written."""
        self.folder, self._model, self._block = folder, model, block
        self._written: dict[int, float] = {}
        self._writing = threading.Lock()
        self._places: dict[int, Path] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OutputError(f"cannot keep sessions in {folder}: {error.strerror}") from error

    def begin(self, live: Live, session_id: str, token: str, pacing: str, name: str | None) -> Journal:
        """Make a new session's folder and journal. Raises OutputError."""
        place = self.folder / session_id
        facts = self._model.facts
        about = {
            "format": FORMAT,
            "id": session_id,
            "token": token,
            "pacing": pacing,
            "lead": live.lead_seconds,
            "name": name,
        }
        try:
            place.mkdir(mode=0o700)
            _write_private(place / DESCRIPTION, json.dumps(about).encode())
        except OSError as error:
            raise OutputError(f"cannot keep the session in {place}: {error.strerror}") from error
        begin = {
            "model": facts.name,
            "version": facts.version,
            "scene": live.session.state.scene.as_dict(),
            "block": self._block,
        }
        self._places[id(live)] = place
        return Journal(place / JOURNAL, begin)

    def watch(self, live: Live, kept: Kept) -> None:
        """Go on keeping a session that was restored."""
        self._places[id(live)] = self.folder / kept.session_id

    def after_view(self, live: Live) -> None:
        """Snapshot a session that has just got a view, if it is time. A full disk is logged, and nothing else."""
        now = time.monotonic()
        since = now - self._written.get(id(live), -LONGEST_SECONDS)
        if id(live) not in self._places or since < LEAST_SECONDS:
            return
        with live.lock:
            making = any(layer.work is not None for layer in live.session.state.layers.values())
            if live.closed or (making and since < LONGEST_SECONDS):
                return
            captured = snapshots.capture(live.session)
        with self._writing:
            # The session may have ended, or been left with a newer snapshot, meanwhile.
            place = self._places.get(id(live))
            if place is not None and self._write(place, captured):
                self._written[id(live)] = live.kept_at = now

    def end(self, live: Live) -> None:
        """A session is over: its journal stays, it is not restored again."""
        with self._writing:
            place = self._places.pop(id(live), None)
            self._written.pop(id(live), None)
            if place is not None:
                for name in (SNAPSHOT, DESCRIPTION):
                    (place / name).unlink(missing_ok=True)

    def leave(self, live: Live) -> None:
        """The server stops, the session is to go on some day: snapshot it now."""
        with self._writing:
            place = self._places.pop(id(live), None)
            if place is not None:
                with live.lock:
                    captured = snapshots.capture(live.session)
                self._write(place, captured)

    def _write(self, place: Path, captured: snapshots.Captured) -> bool:
        try:
            _write_private(place / SNAPSHOT, captured.pack())
        except OSError as error:
            log.warning("no snapshot of session %s: %s", place.name, error.strerror)
            return False
        return True

    def kept(self) -> Iterator[Kept]:
        """The sessions that can go on, each brought to where its journal ends; a damaged one is logged and left."""
        for description in sorted(self.folder.glob(f"*/{DESCRIPTION}")):
            try:
                yield self._restored(description)
            except (SafaError, OSError, ValueError, KeyError) as error:
                log.warning("session %s cannot be restored: %s", description.parent.name, error)

    def _restored(self, description: Path) -> Kept:
        about: dict[str, Any] = json.loads(description.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise SnapshotError(f"{description} is not of the format {FORMAT}")
        place, model = description.parent, self._model
        # Line by line: the journal of an installation that has run for months is larger than its memory.
        entries = read_journal(place / JOURNAL)
        first = next(entries, None)
        if first is None:
            raise SnapshotError(f"{place / JOURNAL} is empty")
        if (place / SNAPSHOT).exists():
            session = snapshots.restore(model, (place / SNAPSHOT).read_bytes())
            again, known = Again(session, self._block), session.state.lines
        else:
            again, known = Again.begun(model, first), 0
        end = first.position
        for entry in entries:
            end = entry.position
            if entry.kind == "at":
                continue
            if known > 0:
                known -= 1
                continue
            for _ in again.until(end):
                pass
            again.carry_out(entry)
        for _ in again.until(end):
            pass
        session = again.session
        session.forget_works()
        session.journal()
        journal = Journal(place / JOURNAL)
        session.state.note("restored")
        return Kept(session, about["id"], about["token"], about["pacing"], float(about["lead"]), about["name"], journal)


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read; it is there as a whole or not at all."""
    partial = path.with_suffix(".partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
