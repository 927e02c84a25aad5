"""Loops that wait to be fetched: the latest of them, on disk, gone with their session."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from safa_server import loops
from tests.server.test_http import fetch
from tests.server.ws_rig import BLOCK, Raw, client, eventually, quiet_log, run, serving


def files(folder: Path) -> int:
    """Files in a folder that this process has open, those without a name too."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is gone
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum(link.startswith(str(folder)) for link in links)


async def long_enough(one: Raw) -> str:
    """A session that was heard for as long as a loop of 8 s needs; its id."""
    opened = await one.ask("open", scene="low", pacing="pull")
    await one.ask("grant", samples=450 * BLOCK)
    await one.hear(450)
    return str(opened["session"])


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="open files are listed on Linux only")
def test_the_latest_loops_are_kept_on_disk_as_long_as_their_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(loops, "LARGEST_LOOPS", 2)

    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            session, made = await long_enough(one), []
            for _ in range(3):
                await one.ask("loop.capture", seconds=8.0)
                made.append((await one.until(lambda text: text["type"] == "loop.ready"))["loop"])
            assert files(tmp_path) == 2
            statuses = [(await fetch(rig, f"/sessions/{session}/loops/{loop}.wav"))[0] for loop in made]
            assert statuses == [404, 200, 200]
            await one.say("close")
            await eventually(lambda: files(tmp_path) == 0)

    with quiet_log():
        run(test())


def test_a_loop_that_the_disk_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            await long_enough(one)
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
            number = (await one.ask("loop.capture", seconds=8.0))["command"]
            refused = await one.until(lambda text: text["type"] == "refused")
            assert refused["command"] == number and "nowhere: No such file" in refused["reason"]
            monkeypatch.undo()
            await one.ask("loop.capture", seconds=8.0)
            await one.until(lambda text: text["type"] == "loop.ready")

    with quiet_log():
        run(test())
