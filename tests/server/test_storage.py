"""Sessions on disk: who writes a snapshot, when two want to at once."""

from __future__ import annotations

import logging
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from safa_server import disk
from safa_server.live import Live
from safa_server.requests import OpenRequest
from safa_server.secret import Secret
from safa_server.storage import DESCRIPTION, SNAPSHOT, Storage
from safa_stream.session import snapshots
from tests.server.ws_rig import BLOCK, toy_48k
from tests.session.stage import begun


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """(begun, go): the first snapshot that is written stops on its way to the disk until it may go on."""
    begun, go, sync = threading.Event(), threading.Event(), os.fsync

    def slow(handle: int) -> None:
        if not begun.is_set():
            begun.set()
            go.wait(20)
        sync(handle)

    monkeypatch.setattr(disk.os, "fsync", slow)
    return begun, go


@pytest.mark.parametrize("way", ["leave", "end"])
def test_a_snapshot_under_way_never_replaces_what_came_after_it(
    tmp_path: Path, writing: tuple[threading.Event, threading.Event], way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A view is made just when the server stops, or the session ends: the engine's snapshot is the older one."""
    model, (under_way, go) = toy_48k(), writing
    kept = Storage(tmp_path, model)
    live = Live(begun(model, "low"), 2.0, urgent=True)
    go.set()
    under_way.set()
    kept.begin(live, "one", Secret.of("token"), OpenRequest("low")).close()
    go.clear()
    under_way.clear()

    engine = threading.Thread(target=kept.after_view, args=(live,))
    engine.start()
    assert under_way.wait(20)
    with live.lock:
        live.session.read(BLOCK)
    loop = threading.Thread(target=getattr(kept, way), args=(live,))
    loop.start()
    loop.join(0.2)
    go.set()
    for thread in (engine, loop):
        thread.join(20)
    # What the engine makes afterwards is not for this session any more.
    kept.after_view(live)

    with caplog.at_level(logging.WARNING):
        assert not caplog.records
    if way == "end":
        assert not (tmp_path / "one" / SNAPSHOT).exists() and not (tmp_path / "one" / DESCRIPTION).exists()
    else:
        restored = snapshots.restore(model, (tmp_path / "one" / SNAPSHOT).read_bytes())
        assert restored.position == BLOCK


def test_a_journal_of_months_is_not_held_in_memory(tmp_path: Path) -> None:
    model = toy_48k()
    kept = Storage(tmp_path, model)
    live = Live(begun(model, "low"), 2.0, urgent=True)
    journal = kept.begin(live, "one", Secret.of("token"), OpenRequest("low", name="main"))
    journal.write(live.session.journal())
    kept.leave(live)
    # How far it was heard, as it is said every now and then.
    journal.write([{"type": "at", "position": live.session.position}] * 30_000)
    journal.close()
    tracemalloc.start()
    try:
        (again,) = Storage(tmp_path, model).kept()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    again.journal.close()
    assert again.blocks.session.position == live.session.position and again.request.name == "main"
    assert peak < 5e6, f"{peak / 1e6:.0f} MB"
