"""Was what clients heard what the session's journal makes again? Frame by frame, by their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safa_server.cluster.claims import epochs, place_of
from safa_server.measuring.day.hearing import DIGEST, Heard, digest
from safa_server.measuring.day.model import FormulaModel
from safa_server.storage import JOURNAL
from safa_stream.session.journal import read_journal
from safa_stream.session.replay import replay

#: So many frames that differ are named.
MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """Frames that were compared, that differed, and that the journal does not reach; where: the first that differed."""

    compared: int = 0
    differing: int = 0
    unknown: int = 0
    where: tuple[str, ...] = ()

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.compared + other.compared,
            self.differing + other.differing,
            self.unknown + other.unknown,
            (self.where + other.where)[:MOST_NAMED],
        )


def judged(folder: Path, session: str, heard: Iterable[Heard]) -> Verdict:
    """Replay the journal of a session's newest epoch beside what its clients heard. Raises SnapshotError where it
    cannot be read."""
    heard = [one for one in heard if one.first is not None]
    last = max((one.first + one.frames for one in heard if one.first is not None), default=0)
    compared = differing = 0
    where: list[str] = []
    known = epochs(folder, session)
    if known and last:
        for sequence, found in _made(place_of(folder, session, known[-1]) / JOURNAL, last):
            for one in heard:
                place = (sequence - (one.first or 0)) * DIGEST
                if 0 <= place < len(one.digests):
                    said = one.digests[place : place + DIGEST]
                    if any(said):  # what never came is counted elsewhere
                        compared += 1
                        if said != found:
                            differing += 1
                            where.append(f"frame {sequence} of session {session}")
    wanted = sum(any(one.digests[at : at + DIGEST]) for one in heard for at in range(0, len(one.digests), DIGEST))
    return Verdict(compared, differing, wanted - compared, tuple(where[:MOST_NAMED]))


def _made(journal: Path, last: int) -> Iterator[tuple[int, bytes]]:
    """Numbers and hashes of the frames that a journal makes, before frame `last`."""
    for chunk in replay(FormulaModel(), read_journal(journal)):
        if chunk.sequence >= last:
            return
        yield chunk.sequence, digest(np.ascontiguousarray(chunk.samples.T, "<f4").tobytes())
