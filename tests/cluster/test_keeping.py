"""Whose files are whose, and what is kept where nobody sees the files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safa_server.cluster.claims import claim, epochs, forget_before, place_of
from safa_server.cluster.storage import ClaimedStorage
from safa_server.cluster.vault import Saved, Vault, lines_of, saved_of, write_files
from safa_server.live import Live
from safa_server.requests import OpenRequest
from safa_server.secret import Secret
from safa_server.storage import JOURNAL, SNAPSHOT, Kept
from safa_stream.errors import SnapshotError
from safa_stream.session.journal import Journal, read_journal
from safa_stream.session.messages import Mix
from safa_stream.session.replay import replay
from safa_stream.session.session import Session
from tests.server.ws_rig import BLOCK, toy_48k
from tests.session.stage import begun


@contextmanager
def kept_session(folder: Path) -> Iterator[tuple[Session, Journal, ClaimedStorage]]:
    """A session that has played a little, with a snapshot and lines of its journal after that."""
    storage = ClaimedStorage(folder, toy_48k())
    live = Live(begun(toy_48k(), "low"), 2.0, urgent=True)
    journal = storage.begin(live, "one", Secret.of("token"), OpenRequest("low"))
    journal.write(live.session.journal())
    storage.after_view(live)
    for gain in (-3.0, -6.0):
        live.session.read(BLOCK)
        live.session.receive(Mix(layer=0, gain=gain))
        journal.write([*live.session.journal(), {"type": "at", "position": live.session.position}])
    with closing(journal):
        yield live.session, journal, storage


@contextmanager
def restored(storage: ClaimedStorage, place: Path) -> Iterator[Kept]:
    """The session of a folder."""
    kept = storage.restored(place)
    with closing(kept.journal):
        yield kept


def test_one_of_many_gets_an_epoch(tmp_path: Path) -> None:
    with kept_session(tmp_path):

        def attempt(_: int) -> bool:
            try:
                claim(tmp_path, "one", 2)
            except SnapshotError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(attempt, range(16))) == 1
        with pytest.raises(SnapshotError, match="claimed at epoch 2 already"):
            claim(tmp_path, "one", 1)
        with pytest.raises(SnapshotError, match="has no files"):
            claim(tmp_path, "two", 2)


def test_what_an_engine_writes_that_was_given_up_is_read_by_nobody(tmp_path: Path) -> None:
    with kept_session(tmp_path) as (session, journal, storage):
        place = claim(tmp_path, "one", 2)
        journal.write([{"type": "end", "position": session.position}])
        with restored(storage, place) as kept:
            assert kept.blocks.session.position == session.position
            np.testing.assert_array_equal(kept.blocks.next().samples, session.read(BLOCK).samples)
        assert [entry.kind for entry in read_journal(place / JOURNAL)][-1] != "end"
        forget_before(tmp_path, "one", 2)
        assert epochs(tmp_path, "one") == [2]


def test_half_a_line_of_a_killed_engine_is_cut_off(tmp_path: Path) -> None:
    with kept_session(tmp_path) as (_, journal, storage):
        whole = journal.path.read_bytes()
        journal.path.write_bytes(whole + b'{"type": "comma')
        place = claim(tmp_path, "one", 2)
        assert (place / JOURNAL).read_bytes() == whole
        with restored(storage, place) as kept:
            kept.journal.write([{"type": "at", "position": kept.blocks.session.position}])
        assert list(read_journal(place / JOURNAL))[-1].kind == "at"


def test_a_damaged_snapshot_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    with kept_session(tmp_path) as (session, _, storage):
        place = place_of(tmp_path, "one", 1)
        good = (place / SNAPSHOT).read_bytes()
        (place / "snapshot.before.safetensors").write_bytes(good)
        (place / SNAPSHOT).write_bytes(good[: len(good) // 2])
        with restored(storage, place) as kept:
            assert kept.blocks.session.position == session.position


def test_a_session_goes_on_where_nobody_sees_the_files_it_had(tmp_path: Path) -> None:
    with kept_session(tmp_path) as (session, journal, _):
        vault, place = Vault(), place_of(tmp_path, "one", 1)
        first = saved_of(place, "one", 1)
        early = replace(first, lines=first.lines[: first.lines.find(b"\n") + 1])
        assert vault.keep(early)
        assert not vault.keep(lines_of(place, "one", 1, early.at + len(early.lines)))
        # What comes from before a move is nobody's any more, and what does not follow is let go.
        assert not vault.keep(Saved("one", 0, b"", b"", 0, b"nonsense", b"nonsense"))
        assert not vault.keep(Saved("one", 1, b"", b"", 7, b"nonsense"))
        found = vault.find("one")
        assert found is not None

        elsewhere = tmp_path / "elsewhere"
        there = place_of(elsewhere, "one", 2)
        write_files(replace(found, snapshot=first.snapshot), there)
        with restored(ClaimedStorage(elsewhere, toy_48k()), there) as kept:
            assert kept.blocks.session.position == session.position
            np.testing.assert_array_equal(kept.blocks.next().samples, session.read(BLOCK).samples)
        with pytest.raises(SnapshotError, match="has lost its beginning"):
            list(replay(toy_48k(), read_journal(there / JOURNAL)))
        assert vault.keep(Saved("one", 1, b"", b"", 0, b"", over=True)) and vault.find("one") is None


def test_a_snapshot_of_another_model_or_version_is_refused_in_one_line(tmp_path: Path) -> None:
    with kept_session(tmp_path):
        place = place_of(tmp_path, "one", 1)
        data = (place / SNAPSHOT).read_bytes()
        size = int.from_bytes(data[:8], "little")
        head = json.loads(data[8 : 8 + size])
        about = json.loads(head["__metadata__"]["safa_session"])
        for change, expected in (({"model": "toy 2"}, "of model toy 2, this is toy 1"), ({"format": "x"}, "format")):
            head["__metadata__"]["safa_session"] = json.dumps({**about, **change})
            raw = json.dumps(head).encode()
            raw += b" " * (-len(raw) % 8)
            (place / SNAPSHOT).write_bytes(len(raw).to_bytes(8, "little") + raw + data[8 + size :])
            (place / "snapshot.before.safetensors").unlink(missing_ok=True)
            with pytest.raises(SnapshotError, match=expected) as caught:
                ClaimedStorage(tmp_path, toy_48k()).restored(place)
            assert "\n" not in str(caught.value)
