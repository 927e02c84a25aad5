"""A cluster's day, shortened to one of each fault: real engines, a real head and front end, sockets and files."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from safa_server.cluster import directory as rules
from safa_server.cluster.claims import Over, claim, epochs, place_of
from safa_server.cluster.directory import Directory, EngineFacts, SessionFacts
from safa_server.live import Live
from safa_server.measuring.day.hearing import DIGEST, Heard, digest
from safa_server.measuring.day.model import FormulaModel
from safa_server.measuring.day.verdict import judged
from safa_server.measuring.day.weather import BadDisk
from safa_server.measuring.meanings import DAY
from safa_server.requests import OpenRequest
from safa_server.secret import Secret
from safa_server.storage import DESCRIPTION, JOURNAL, SNAPSHOT, Storage
from safa_stream.session.journal import MOST_WAITING, Entry, Journal, read_journal
from safa_stream.session.livescene import LiveScene
from safa_stream.session.messages import Mix
from safa_stream.session.session import Session
from safa_stream.stream import step_views
from tests.server.ws_rig import client, eventually, run, serving, toy_48k

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")

#: Long enough for two faults of each kind.
HOURS = 0.4
COMMAND = "import sys; from safa_stream.cli import main; sys.exit(main())"
FAULTS = {"killed", "slow_disk", "full_disk", "slow_network", "clock_jump", "frozen", "head_restarted"}


def test_every_sample_of_a_short_day_is_heard_once_and_is_what_the_journal_makes() -> None:
    words = ("bench", "day", "--hours", str(HOURS), "--fault-every", "100", "--seed", "1", "--json", "--quiet")
    # A process of its own: engines that are killed leave their files open, as they do.
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)

    assert found["broken"] == [] and done.returncode == 0, done.stderr
    assert set(found["silence_s"]) == FAULTS, "every kind of fault has happened"
    for none in ("samples_lost", "samples_doubled", "disagreements", "frames_differing", "frames_not_in_journal"):
        assert found[none] == 0, none
    assert found["fenced"] >= 1 and found["unfenced"] == 0
    assert found["frames_replayed"] >= HOURS * 3600 * 2000 / 960, "the day's whole sound was replayed"
    assert found["sessions_recovered"] >= 2 and found["sessions_lost"] == 0
    assert found["disk_refused"] > 0 and found["reconnects"] > 0 and found["joins"] > 0
    assert {name for name, _ in DAY} <= set(found)


@contextmanager
def session_in(kept: Storage, name: str = "one") -> Iterator[tuple[Live, Journal]]:
    """A session and its journal."""
    live = Live(Session.begin(FormulaModel(), LiveScene.from_value("rain")), 5.0, urgent=False)
    journal = kept.begin(live, name, Secret.of("token"), OpenRequest("rain", "pull"))
    try:
        yield live, journal
    finally:
        journal.close()


def view(live: Live) -> None:
    work = live.session.start(0)
    while not work.view.done:
        step_views(live.session.state.model, [work.view])
    live.session.complete(work.finish())


def test_a_full_disk_is_made_up_for_when_it_has_room_again(tmp_path: Path) -> None:
    disk = BadDisk()
    kept = Storage(tmp_path, FormulaModel(), least_seconds=0.0, longest_seconds=0.0, disk=disk)
    with session_in(kept) as (live, journal):
        view(live)
        journal.write(live.session.journal())
        disk.full = True
        live.session.receive(Mix(layer=0, gain=-6.0))
        live.session.read(960)
        journal.write([*live.session.journal(), {"type": "at", "position": live.session.position}])
        assert journal.behind and "space" in journal.problem.lower()
        kept.after_view(live)
        disk.full = False
        kept.after_view(live)
        assert not (tmp_path / "one" / SNAPSHOT).exists(), "no snapshot is ahead of its journal"

        journal.write([{"type": "at", "position": live.session.position}])
        assert journal.behind == 0
        found = [(entry.kind, entry.position) for entry in read_journal(tmp_path / "one" / JOURNAL)]
        assert ("command", 0) in found and found[-1] == ("at", 960)
        restored = kept.restored(tmp_path / "one")
        restored.journal.close()
        assert restored.blocks.session.position == 960
        assert (restored.blocks.next().samples == live.session.read(960).samples).all()


def test_a_journal_that_could_never_be_written_says_so(tmp_path: Path) -> None:
    disk = BadDisk()
    journal = Journal(tmp_path / "one", {"model": "m", "version": "1", "scene": {}}, opened=disk.append)
    disk.full = True
    with pytest.raises(Exception, match="No space left"):
        for _ in range(MOST_WAITING // 1000):
            journal.write([{"type": "once", "position": 0, "name": "x" * 1000, "number": 1}])
    journal.close()


def test_a_snapshot_that_knows_more_than_the_journal_is_not_gone_on_from(tmp_path: Path) -> None:
    """The engine ended after the snapshot, before the event loop had written the lines of the same view."""
    kept = Storage(tmp_path, FormulaModel(), least_seconds=0.0, longest_seconds=0.0)
    with session_in(kept) as (live, journal):
        journal.write(live.session.journal())
        view(live)
        kept.after_view(live)
        assert (tmp_path / "one" / SNAPSHOT).exists()
        restored = kept.restored(tmp_path / "one")
        restored.journal.close()
        assert restored.blocks.session.ready() == 0, "the journal knows of no view"


def test_a_claim_that_the_disk_does_not_take_is_given_back(tmp_path: Path) -> None:
    first = place_of(tmp_path, "one", 1)
    first.mkdir(parents=True)
    for name in (DESCRIPTION, JOURNAL):
        (first / name).write_bytes(b"{}\n")
    disk = BadDisk()
    disk.full = True
    with pytest.raises(OSError, match="No space left"):
        claim(tmp_path, "one", 2, disk)
    assert epochs(tmp_path, "one") == [1]
    disk.full = False
    assert (claim(tmp_path, "one", 3, disk) / JOURNAL).read_bytes() == b"{}\n"
    (place_of(tmp_path, "one", 3) / DESCRIPTION).unlink()
    with pytest.raises(Over):
        claim(tmp_path, "one", 4, disk)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_head_that_begins_anew_believes_the_newer_epoch(order: tuple[int, int]) -> None:
    """Two engines report the same session: one was frozen while the other took it over."""
    found, outdated = Directory(), ()
    for epoch in (*order, *order):
        told = SessionFacts(epoch, 960, 2000, 5.0, 1, urgent=False, playing=True)
        facts = EngineFacts(f"ws://{epoch}", "formula 1", 8, 0, {"one": told})
        found, outdated = rules.reported(found, f"engine-{epoch}", facts, 0.0)
        assert outdated == () or epoch == 1
    assert found.sessions["one"].engine == "engine-2" and found.sessions["one"].epoch == 2


def test_what_was_not_heard_as_the_journal_makes_it_is_found(tmp_path: Path) -> None:
    kept = Storage(place_of(tmp_path, "one", 1).parent, FormulaModel())
    with session_in(kept, "000001") as (live, journal):
        view(live)
        heard = Heard(first=0)
        for _ in range(4):
            chunk = live.session.read(960)
            journal.write([*live.session.journal(), {"type": "at", "position": live.session.position}])
            heard.digests += digest(chunk.samples.T.astype("<f4").tobytes())
        assert judged(tmp_path, "one", [heard]).differing == 0
        heard.digests[2 * DIGEST] ^= 1
        heard.digests += digest(b"more than there was")
        verdict = judged(tmp_path, "one", [heard])
        assert (verdict.compared, verdict.differing, verdict.unknown) == (4, 1, 1)
        assert verdict.where == ("frame 2 of session one",)


def test_a_session_at_rest_writes_what_waited_once_the_disk_has_room(tmp_path: Path) -> None:
    model, disk = toy_48k(), BadDisk()

    async def main() -> None:
        async with serving(model=model, storage=Storage(tmp_path, model, disk=disk)) as rig, client(rig) as raw:
            opened = await raw.ask("open", scene="low", pacing="pull", lead=11.0)
            (station,) = rig.stations.all()
            disk.full = True
            await raw.ask("grant", samples=20 * 960)
            await raw.hear(20)
            assert station.journal is not None and station.journal.behind
            await eventually(lambda: station.lead > 10.0)  # all views are made that it wants
            await asyncio.sleep(0.3)
            disk.full = False
            await eventually(lambda: station.journal is not None and not station.journal.behind, 2.0)
            *_, last = read_journal(tmp_path / opened["session"] / JOURNAL)
            assert last.position >= 18 * 960, "no grant and no command came in between"

    run(main())


def test_a_session_has_ended_on_the_disk_when_closing_it_is_answered(tmp_path: Path) -> None:
    model, disk = toy_48k(), BadDisk()

    def closed(url: str) -> list[Entry]:
        """What is on the disk when the answer is there, for a client that nothing here holds up."""
        with connect(url, subprotocols=[Subprotocol("safa.v1")]) as socket:
            for message in ({"type": "open", "scene": "low", "pacing": "pull"}, {"type": "grant", "samples": 20 * 960}):
                socket.send(json.dumps(message))
            session = json.loads(socket.recv(20))["session"]
            heard = 0
            while heard < 20:
                heard += isinstance(socket.recv(20), bytes)
            disk.slow = 0.3
            socket.send(json.dumps({"type": "close", "id": 1}))
            while isinstance(message := socket.recv(20), bytes) or json.loads(message).get("id") != 1:
                pass
            return list(read_journal(tmp_path / session / JOURNAL))

    async def main() -> None:
        async with serving(model=model, storage=Storage(tmp_path, model, disk=disk)) as rig:
            found = await asyncio.to_thread(closed, rig.url)
            assert "end" in [entry.kind for entry in found] and found[-1].position >= 20 * 960

    run(main())
