"""Sessions on disk: a journal of all that happened, a snapshot of how it stands, and who may come back to it.

    FOLDER/SESSION/session.json          id, tenant, hashes of its tokens, pacing, lead (readable by its owner only)
                   journal.jsonl         the whole performance; `safa-stream replay` makes it again
                   snapshot.safetensors  the newest, written after views; says where in the journal to go on reading
                   snapshot.before.safetensors  the one before it
    FOLDER/tenants/TENANT/SESSION/       the same of a tenant's sessions

A session is restored from a snapshot, then the journal's later lines are carried out again. No sound leaves a session
before the journal has what made it, so whoever comes back gets the samples that it would have got.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safa_server.blocks import BLOCK, UNKNOWN, Block, Blocks
from safa_server.disk import Disk, write_private
from safa_server.live import Live
from safa_server.requests import OpenRequest
from safa_server.secret import Secret, digest_of
from safa_stream.errors import OutputError, SafaError, SnapshotError
from safa_stream.models.interface import Model
from safa_stream.session import snapshots
from safa_stream.session.journal import CLOCK_KINDS, Entry, Journal, Mark, read_journal
from safa_stream.session.replay import Again
from safa_stream.session.session import Session
from safa_stream.types import Steps

log = logging.getLogger("safa_server.storage")

DESCRIPTION, JOURNAL = "session.json", "journal.jsonl"
SNAPSHOT, EARLIER = "snapshot.safetensors", "snapshot.before.safetensors"
#: Of a single server: a snapshot is made at most so often, and with views in the making only after the longer time.
LEAST_SECONDS, LONGEST_SECONDS = 2.0, 15.0
#: So much of what left a session last is in its snapshots, for listeners who had not had all of it.
LEFT_SECONDS = 5.0
#: With what the journal brings after that, so much is kept for them at most.
PAST_SECONDS = 30.0
#: Names of a snapshot's entries for it.
LEFT, LEFT_FIRST = "left", "left_first"
#: Seconds by which a journal may be behind what was heard, at the most.
LONGEST_UNWRITTEN = 1.0
#: The older format held the session's token in clear. It is read, and written anew with the hash instead.
FORMAT, OLDER_FORMAT = "safa-session-2", "safa-session-1"
#: The folder of tenants' folders; no session's id is as short.
TENANTS = "tenants"
#: So long an end of a journal is looked through for commands with names.
TAIL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """A session as it was found: what its station is to be made with.

    blocks: the session, where its journal ends; past: the latest blocks that left it before; request: what it was
    opened with, without the scene; playing: whether its clock ran; once:
    numbers of commands by the names that their senders gave them.
    """

    blocks: Blocks
    past: tuple[Block, ...]
    session_id: str
    secret: Secret
    request: OpenRequest
    journal: Journal
    playing: bool
    once: Mapping[str, int]


class Storage:
    """The folder of one server. `after_view` runs on the engine's thread, the rest on the event loop.

    least_seconds: snapshots of a session come no closer than that; longest_seconds: nor closer than that while views
    are in the making, which have to be begun again then.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        least_seconds: float = LEAST_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
        disk: Disk | None = None,
    ) -> None:
        """Raises OutputError where the folder cannot be made or written."""
        self.folder, self._model, self.disk = folder, model, disk or Disk()
        self._least_seconds, self._longest_seconds = least_seconds, longest_seconds
        self._written: dict[int, float] = {}
        self._writing = threading.Lock()
        self._places: dict[int, Place] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OutputError(f"cannot keep sessions in {folder}: {error.strerror}") from error

    def place_of(self, session_id: str, tenant: str | None = None) -> Path:
        """The folder of a session."""
        return self.folder / session_id if tenant is None else self.folder / TENANTS / tenant / session_id

    def begin(self, live: Live, session_id: str, secret: Secret, request: OpenRequest) -> Journal:
        """Make a new session's folder and journal. Raises OutputError."""
        place = self.place_of(session_id, request.tenant)
        facts = self._model.facts
        about = {
            "format": FORMAT,
            "id": session_id,
            "tenant": request.tenant,
            "token_sha256": secret.digests,
            "pacing": request.pacing,
            "lead": live.lead_seconds,
            "ahead": request.ahead,
            "name": request.name,
        }
        try:
            if request.tenant is not None:
                for above in (self.folder / TENANTS, self.folder / TENANTS / request.tenant):
                    above.mkdir(mode=0o700, exist_ok=True)
            place.mkdir(mode=0o700, parents=True)
            self.disk.write(place / DESCRIPTION, json.dumps(about).encode())
        except OSError as error:
            raise OutputError(f"cannot keep the session in {place}: {error.strerror}") from error
        begin = {
            "model": facts.name,
            "version": facts.version,
            "scene": live.session.state.scene.as_dict(),
            "block": BLOCK,
        }
        journal = Journal(place / JOURNAL, begin, opened=self.disk.append)
        self._keep(live, Place(place, journal), ())
        return journal

    def watch(self, live: Live, kept: Kept) -> None:
        """Go on keeping a session that was restored."""
        self._keep(live, Place(kept.journal.path.parent, kept.journal), kept.past)

    def _keep(self, live: Live, place: Place, past: Iterable[Block]) -> None:
        live.left = deque(past, round(LEFT_SECONDS * live.session.rate / BLOCK))
        self._places[id(live)] = place

    def keep_secret(self, live: Live, secret: Secret) -> None:
        """Keep what opens a session from now on. Raises OutputError."""
        description = self._places[id(live)].folder / DESCRIPTION
        about = json.loads(description.read_text(encoding="utf-8"))
        try:
            self.disk.write(description, json.dumps({**about, "token_sha256": secret.digests}).encode())
        except OSError as error:
            raise OutputError(f"cannot keep the session in {description.parent}: {error.strerror}") from error

    def after_view(self, live: Live) -> None:
        """Snapshot a session that has just got a view, if it is time. A full disk is logged, and nothing else."""
        now = time.monotonic()
        since = now - self._written.get(id(live), -math.inf)
        place = self._places.get(id(live))
        # A snapshot says where in the journal's file to go on; what is not there yet cannot be gone on from.
        if place is None or since < self._least_seconds or place.journal.behind:
            return
        with live.lock:
            making = any(layer.work is not None for layer in live.session.state.layers.values())
            if live.closed or (making and since < self._longest_seconds):
                return
            captured, left = snapshots.capture(live.session, place.journal.mark), tuple(live.left or ())
        captured = _with_left(captured, left)
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
                for name in (SNAPSHOT, EARLIER, DESCRIPTION):
                    (place.folder / name).unlink(missing_ok=True)

    def leave(self, live: Live) -> None:
        """The server stops, the session is to go on some day: snapshot it now."""
        with self._writing:
            place = self._places.pop(id(live), None)
            if place is not None and not place.journal.behind:
                with live.lock:
                    captured, left = snapshots.capture(live.session, place.journal.mark), tuple(live.left or ())
                self._write(place, _with_left(captured, left))

    def _write(self, place: Place, captured: snapshots.Captured) -> bool:
        try:
            # One of the two has to be what the journal knows of, however fast views follow each other.
            earlier = place.folder / EARLIER if place.journal.mark.lines >= place.lines else None
            self.disk.write(place.folder / SNAPSHOT, captured.pack(), earlier)
            place.lines = captured.lines
        except OSError as error:
            log.warning("no snapshot of session %s: %s", place.folder, error.strerror)
            return False
        return True

    def kept(self) -> Iterator[Kept]:
        """The sessions that can go on, each brought to where its journal ends; a damaged one is logged and left."""
        found = (*self.folder.glob(f"*/{DESCRIPTION}"), *self.folder.glob(f"{TENANTS}/*/*/{DESCRIPTION}"))
        for description in sorted(found):
            try:
                self._check_place(description)
                yield self.restored(description.parent)
            except (SafaError, OSError, ValueError, KeyError) as error:
                log.warning("session %s cannot be restored: %s", description.parent.name, error)

    def restored(self, place: Path) -> Kept:
        """`restoring` to its end."""
        steps = self.restoring(place)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                kept: Kept = end.value
                return kept

    def restoring(self, place: Path) -> Steps[Kept]:
        """The session of a folder, brought to where its journal ends, in steps: they may need the model.

        Raises SafaError, OSError, ValueError and KeyError for what is damaged.
        """
        about = _description(place / DESCRIPTION)
        first = next(read_journal(place / JOURNAL), None)
        if first is None:
            raise SnapshotError(f"{place / JOURNAL} is empty")
        once = _named_in(place / JOURNAL)
        # Pulled faster than it sounds, a session has many seconds on their way to listeners.
        again = self._begun(place, first, (EARLIER, SNAPSHOT) if about["pacing"] == "pull" else (SNAPSHOT, EARLIER))
        for entry in read_journal(place / JOURNAL, again.mark.bytes):
            again.happen(entry)
            yield
        session = again.blocks.session
        session.forget_works()
        session.journal()
        # What was noted again stands in the journal already.
        session.state.lines = again.lines
        journal = Journal(place / JOURNAL, lines=again.lines, opened=self.disk.append)
        session.state.note("restored")
        lead, tenant = float(about["lead"]), about["tenant"]
        return Kept(
            again.blocks,
            tuple(again.past),
            about["id"],
            Secret(tuple(about["token_sha256"])),
            OpenRequest("", about["pacing"], lead, about["name"], ahead=about.get("ahead"), tenant=tenant),
            journal,
            again.playing,
            once,
        )

    def _check_place(self, path: Path) -> None:
        """Raises SnapshotError where a description lies in a place of somebody else's: a folder that was moved there
        gives nobody another tenant's session."""
        about = _description(path)
        if path.parent != self.place_of(about["id"], about["tenant"]):
            whose = f"session {about['id']!r} of tenant {about['tenant']!r}"
            raise SnapshotError(f"{path} is of {whose} and does not belong there")

    def _begun(self, place: Path, first: Entry, names: Sequence[str]) -> _Again:
        """Where to begin: with the first of these snapshots that is there and whole, or with the journal."""
        there = [name for name in names if (place / name).exists()]
        for name in there:
            data = (place / name).read_bytes()
            try:
                facts = snapshots.facts_of(data)
                session = snapshots.restore(self._model, data)
            except SnapshotError as error:
                if name == there[-1]:
                    raise
                log.warning("session %s goes on from its other snapshot: %s", place.name, error)
                continue
            again, known = Again(session, BLOCK), session.state.lines - facts.mark.lines
            if "without" not in first.values and not _has(place / JOURNAL, facts.mark, known):
                # Its engine ended between the two. What this session knows will be in no journal, but other lines in
                # its place, so it must not be found again.
                log.warning("a snapshot of session %s knows more than its journal, and is removed", place.name)
                (place / name).unlink()
                continue
            return _Again(again, facts.mark, known, _left_in(data, session))
        return _Again(Again.begun(self._model, first), snapshots.BEGINNING, 0, ())


@dataclass(slots=True)
class Place:
    """Where a session is kept. lines: of the session's own, that the newest snapshot knows."""

    folder: Path
    journal: Journal
    lines: int = 0


class _Again:
    """A session to which the end of its journal happens again. known: lines from the mark on that it has already; left:
    what left it before."""

    def __init__(self, again: Again, mark: Mark, known: int, left: Iterable[Block]) -> None:
        self.blocks, self.mark, self.lines, self.playing = Blocks(again.session), mark, mark.lines, True
        self.past: deque[Block] = deque(left, round(PAST_SECONDS * again.session.rate / BLOCK))
        self._again, self._known = again, known

    def happen(self, entry: Entry) -> None:
        """Read up to an entry and carry it out."""
        if entry.kind == "begin":
            return
        if entry.kind in ("play", "pause"):
            self.playing = entry.kind == "play"
        if entry.kind not in CLOCK_KINDS:
            self.lines += 1
            if self._known > 0:
                self._known -= 1
                return
        session = self._again.session
        while session.position < entry.position:
            self.past.append(self.blocks.next(tuple(session.state.layers)))
        self._again.carry_out(entry)


def _with_left(captured: snapshots.Captured, left: Sequence[Block]) -> snapshots.Captured:
    """A snapshot with what left the session last."""
    if not left:
        return captured
    sound = np.concatenate([block.samples for block in left], axis=1)
    about = {**captured.about, LEFT_FIRST: [left[0].start, left[0].sequence]}
    return snapshots.Captured({**captured.tensors, LEFT: sound}, about)


def _left_in(data: bytes, session: Session) -> Iterator[Block]:
    """The blocks that left a session before its snapshot; what made them is not known any more."""
    sound, about = snapshots.extra(data, LEFT)
    if sound is None:
        return
    start, sequence = about[LEFT_FIRST]
    for number in range(sound.shape[1] // BLOCK):
        samples = np.asarray(sound[:, number * BLOCK : (number + 1) * BLOCK], np.float32)
        yield Block(
            samples, start + number * BLOCK, sequence + number, time.monotonic_ns(), UNKNOWN, session.heard_grid
        )


def _has(path: Path, mark: Mark, lines: int) -> bool:
    """Does a journal have so many lines of the session's own after a mark?"""
    if lines > 0:
        for entry in read_journal(path, mark.bytes):
            lines -= entry.kind != "begin" and entry.kind not in CLOCK_KINDS
            if lines == 0:
                break
    return lines <= 0


def _named_in(path: Path) -> dict[str, int]:
    """The commands with names that stand near the end of a journal."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().splitlines(keepends=True)
    named = (json.loads(line) for line in lines[1:] if line.endswith(b"\n") and b'"once"' in line)
    return {str(line["name"]): int(line["number"]) for line in named if line.get("type") == "once"}


def _description(path: Path) -> dict[str, Any]:
    """What a session's description says, in today's form. Raises SnapshotError for one of another form."""
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if about["format"] == OLDER_FORMAT:
        about |= {"format": FORMAT, "tenant": None, "token_sha256": [digest_of(about.pop("token"))]}
        write_private(path, json.dumps(about).encode())
    if about["format"] != FORMAT:
        raise SnapshotError(f"{path} is not of the format {FORMAT}")
    return about
