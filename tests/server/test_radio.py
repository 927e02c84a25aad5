"""Broadcasts without other programs: the tap, a program that ends, and a way out that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from safa_server.blocks import BLOCK, Block
from safa_server.radio import broadcast as broadcast_module
from safa_server.radio.broadcast import Broadcast, BroadcastEvent, title_of
from safa_server.radio.child import Child, need
from safa_server.radio.tap import Tap
from safa_server.radio.way import Line
from safa_server.requests import BURST_SECONDS
from safa_server.ring import FADE
from safa_stream.errors import FailureError, UsageError
from safa_stream.session.tempo import Grid
from safa_stream.types import FloatArray

RATE = 48_000
SECRET = "pass word:@"


def block(value: float, number: int = 0) -> Block:
    return Block(np.full((2, BLOCK), value, np.float32), number * BLOCK, number, 0, 1, Grid(48_000))


def drained(tap: Tap) -> FloatArray:
    parts = []
    while (samples := tap.pull()) is not None:
        parts.append(samples)
    return np.concatenate(parts, axis=1) if parts else np.zeros((2, 0), np.float32)


class TestTap:
    def test_blocks_leave_as_they_came(self) -> None:
        tap, rng = Tap(RATE, 2, 1.0, clocked=True), np.random.default_rng(1)
        blocks = [rng.standard_normal((2, BLOCK)).astype(np.float32) for _ in range(5)]
        for samples in blocks:
            tap.push(samples, 0.0)
        assert tap.waiting == 5 * BLOCK
        assert np.array_equal(drained(tap), np.concatenate(blocks, axis=1))
        assert (tap.waiting, tap.dropped, tap.missing) == (0, 0, 0)

    def test_the_oldest_gives_way_and_is_counted(self) -> None:
        tap = Tap(RATE, 2, 0.1, clocked=False)
        for number in range(8):
            tap.push(block(number).samples, 0.0)
        assert (tap.waiting, tap.dropped) == (5 * BLOCK, 3 * BLOCK)
        assert drained(tap)[0, ::BLOCK].tolist() == [3, 4, 5, 6, 7]

    @pytest.mark.parametrize("clocked", [False, True])
    def test_rest_is_silence_as_fast_as_time_goes_by_and_makes_up_for_the_burst(self, clocked: bool) -> None:
        tap = Tap(RATE, 2, 10.0, clocked)
        for _ in range(round(BURST_SECONDS * RATE / BLOCK)):
            tap.push(block(0.5).samples, 100.0)
        drained(tap)
        for step in range(101):
            tap.rest(100 + step * 0.01)
        assert drained(tap).shape[1] == pytest.approx((1.0 - BURST_SECONDS) * RATE, abs=BLOCK)

    def test_pauses_add_no_delay_on_a_clock_however_late_they_are_noticed(self) -> None:
        tap, now, taken = Tap(RATE, 2, 60.0, clocked=True), 0.0, 0
        tap.push(block(0.5).samples, now)
        for _ in range(50):
            now += 0.137
            tap.rest(now)
            tap.push(block(0.5).samples, now)
            taken += drained(tap).shape[1]
        assert taken / RATE == pytest.approx(now, abs=0.05) and tap.missing == 0

    def test_sound_fades_into_a_silence_and_out_of_it(self) -> None:
        tap = Tap(RATE, 2, 10.0, clocked=False)
        tap.push(block(0.5).samples, 0.0)
        for now in (0.0, 1.0):
            tap.rest(now)
        for _ in range(2):
            tap.push(block(-0.5).samples, 1.0)
        heard = drained(tap)
        assert np.abs(np.diff(heard)).max() < 0.5 * np.pi / 2 / FADE * 1.01, "no step, so no click"
        assert not heard[:, BLOCK + FADE : -2 * BLOCK].any()
        assert (heard[:, -BLOCK:] == -0.5).all()

    @pytest.mark.parametrize("clocked", [False, True])
    def test_a_short_pause_changes_nothing(self, clocked: bool) -> None:
        tap = Tap(RATE, 2, 10.0, clocked)
        tap.push(block(0.5).samples, 0.0)
        tap.rest(0.0)
        tap.rest(0.03)
        tap.push(block(0.25).samples, 0.03)
        assert np.array_equal(drained(tap), np.concatenate([block(0.5).samples, block(0.25).samples], axis=1))

    def test_a_session_that_catches_up_is_left_alone(self) -> None:
        tap = Tap(RATE, 2, 10.0, clocked=True)
        tap.push(block(0.5).samples, 0.0)
        tap.keep_up(3.0)
        for _ in range(150):
            tap.push(block(0.5).samples, 3.0)
        for step in range(300):
            tap.keep_up(3.0 + step * 0.02)
            tap.push(block(0.5).samples, 3.0 + step * 0.02)
        assert (drained(tap) == 0.5).all() and tap.missing == 0

    @pytest.mark.parametrize(("clocked", "missing"), [(False, 0), (True, 6 * RATE)])
    def test_a_session_that_stays_behind_is_made_up_for_where_a_clock_waits(self, clocked: bool, missing: int) -> None:
        tap = Tap(RATE, 2, 60.0, clocked)
        tap.push(block(0.5).samples, 0.0)
        for step in range(300):
            tap.keep_up(6.0 + step * 0.02)
            tap.push(block(0.5).samples, 6.0 + step * 0.02)
        assert tap.missing == pytest.approx(missing, abs=BLOCK)
        assert drained(tap).shape[1] == 301 * BLOCK + tap.missing


class TestChild:
    def test_a_program_that_is_missing_names_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(UsageError, match="ffmpeg is not installed: apt-get install --no-install-recommends ffmpeg"):
            need("ffmpeg")

    def test_a_program_that_ends_is_told_with_its_last_words_and_sees_no_settings(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAFA_ICECAST_PASSWORD", SECRET)

        async def run() -> str:
            script = 'echo first >&2; echo "it is over: [$SAFA_ICECAST_PASSWORD]" >&2; exit 3'
            child = await Child.start(["sh", "-c", script])
            with pytest.raises(FailureError) as raised:
                for _ in range(1000):
                    await child.feed(bytes(4096))
            await child.end()
            return str(raised.value)

        assert asyncio.run(run()) == "sh has ended: it is over: []"

    def test_a_program_that_does_not_want_to_end_is_ended(self) -> None:
        async def run() -> str:
            child = await Child.start(["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done"])
            await child.output.readline()
            await child.end()
            return await child.ended()

        assert asyncio.run(run()) == "sh has ended: by signal 9"


class FakeStation:
    """A station as a broadcast sees it."""

    rate, channels, pacing, position = RATE, 2, "live", 0

    def __init__(self) -> None:
        self.playing, self.closed, self.first_block_at = True, False, 0.0
        self.prompts = "rain"
        self.callback: Callable[[Block], None] = lambda _: None

    def on_block(self, callback: Callable[[Block], None]) -> Callable[[], None]:
        self.callback = callback
        return lambda: None

    def state(self) -> dict[str, Any]:
        return {"layers": [{"prompts": self.prompts, "ending": False, "mute": False}]}


class FakeLine:
    """Takes what it is given until it is told to break, and nothing while it is `stuck`."""

    def __init__(self) -> None:
        self.heard: list[FloatArray] = []
        self.titles: list[str] = []
        self.broken, self.free = asyncio.Event(), asyncio.Event()
        self.free.set()
        self.ended = ""

    async def send(self, samples: FloatArray) -> None:
        await self.free.wait()
        self.heard.append(samples)

    async def tell(self, title: str) -> None:
        self.titles.append(title)

    async def lost(self) -> str:
        await self.broken.wait()
        return "pulled out"

    async def finish(self, seconds: float) -> None:
        self.ended = "finished"

    async def end(self) -> None:
        self.ended = self.ended or "ended"


class FakeWay:
    """Gives a new line, or fails as often as it is told to."""

    name, clocked = "fake://here", False

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.lines = list(failures), list[FakeLine]()

    def check(self) -> None:
        pass

    async def connect(self, title: str) -> Line:
        if self.failures:
            raise self.failures.pop(0)
        self.lines.append(FakeLine())
        return self.lines[-1]


class Rig:
    """A broadcast of a fake station on a fake way."""

    def __init__(self, *failures: Exception) -> None:
        self.station, self.way, self.said = FakeStation(), FakeWay(*failures), list[BroadcastEvent]()
        self.broadcast = Broadcast(self.station, self.way, self.said.append)  # type: ignore[arg-type]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.said]


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.005)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    for name in ("FIRST_RETRY", "LONGEST_RETRY", "TITLE_SECONDS"):
        monkeypatch.setattr(broadcast_module, name, 0.01)
    monkeypatch.setattr(broadcast_module, "STALL_SECONDS", 0.1)


@pytest.mark.usefixtures("quick")
class TestBroadcast:
    def test_a_line_that_breaks_is_taken_again_and_the_rest_is_counted(self) -> None:
        async def run() -> None:
            rig = Rig()
            await rig.broadcast.start()
            rig.station.callback(block(0.5))
            await until(lambda: len(rig.way.lines[0].heard) == 1)
            rig.way.failures = [FailureError("away"), FailureError("away"), UsageError("no longer welcome")]
            rig.way.lines[0].broken.set()
            await until(lambda: not rig.broadcast.status.connected)
            rig.station.callback(block(0.25, 1))
            await until(lambda: rig.broadcast.status.connected)
            rig.station.callback(block(0.125, 2))
            await until(lambda: len(rig.way.lines[1].heard) == 1)
            await rig.broadcast.stop()
            status = rig.broadcast.status
            assert rig.names == ["connected", "lost", "waiting", "waiting", "back"], "what fails alike is said once"
            assert "fake://here is gone (pulled out); trying again" in rig.said[1].text
            assert (status.sent, status.unheard, status.dropped, status.lost) == (2 * BLOCK, BLOCK, 0, 1)
            assert [line.ended for line in rig.way.lines] == ["ended", "finished"]
            assert rig.way.lines[1].heard[0][0, 0] == 0.125

        asyncio.run(run())

    def test_another_end_that_is_not_there_yet_is_waited_for(self) -> None:
        async def run() -> None:
            rig = Rig(FailureError("away"))
            await rig.broadcast.start()
            assert rig.names == ["waiting"] and rig.said[0].text == "away; trying again"
            await until(lambda: rig.broadcast.status.connected)
            await rig.broadcast.stop()

        asyncio.run(run())

    def test_what_can_never_be_is_raised_at_once(self) -> None:
        async def run() -> None:
            rig = Rig(UsageError("wrong password"))
            with pytest.raises(UsageError, match="wrong password"):
                await rig.broadcast.start()
            await rig.broadcast.stop()

        asyncio.run(run())

    def test_a_slow_end_loses_its_oldest_sound_and_holds_nobody_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(broadcast_module, "STALL_SECONDS", 10.0)
        monkeypatch.setattr(broadcast_module, "QUEUE_SECONDS", 0.1)

        async def run() -> None:
            rig = Rig()
            await rig.broadcast.start()
            line = rig.way.lines[0]
            line.free.clear()
            rig.station.callback(block(0))
            await asyncio.sleep(0.05)
            for number in range(1, 9):
                rig.station.callback(block(number, number))
            line.free.set()
            await until(lambda: len(line.heard) == 6)
            assert [samples[0, 0] for samples in line.heard] == [0, 4, 5, 6, 7, 8]
            assert rig.broadcast.status.dropped == 3 * BLOCK
            assert rig.said[-1].name == "gap" and "0.06 s left out as it was slow" in rig.said[-1].text
            await rig.broadcast.stop()

        asyncio.run(run())

    def test_an_end_that_takes_nothing_has_gone(self) -> None:
        async def run() -> None:
            rig = Rig()
            await rig.broadcast.start()
            rig.way.lines[0].free.clear()
            for number in range(3):
                rig.station.callback(block(0.5, number))
            await until(lambda: "lost" in rig.names)
            assert (rig.broadcast.status.sent, rig.broadcast.status.unheard) == (0, 3 * BLOCK)
            assert "it took nothing for 0.1 s" in rig.said[1].text
            await rig.broadcast.stop()

        asyncio.run(run())

    @pytest.mark.parametrize("why", ["paused", "not begun", "over"])
    def test_a_session_that_rests_is_silence(self, why: str) -> None:
        async def run() -> None:
            rig = Rig()
            rig.station.playing = why != "paused"
            rig.station.closed = why == "over"
            if why == "not begun":
                rig.station.first_block_at = None  # type: ignore[assignment]
            await rig.broadcast.start()
            await until(lambda: rig.broadcast.status.sent >= 5 * BLOCK)
            assert not any(samples.any() for samples in rig.way.lines[0].heard)
            await rig.broadcast.stop()

        asyncio.run(run())

    def test_the_other_end_is_told_each_title_once(self) -> None:
        async def run() -> None:
            rig = Rig()
            await rig.broadcast.start()
            await until(lambda: rig.way.lines[0].titles == ["rain"])
            rig.station.prompts = "sea"
            await until(lambda: len(rig.way.lines[0].titles) == 2)
            await asyncio.sleep(0.05)
            assert rig.way.lines[0].titles == ["rain", "sea"]
            await rig.broadcast.stop()

        asyncio.run(run())


def test_a_title_is_the_prompts_of_what_is_heard() -> None:
    def layer(prompts: str, **more: bool) -> dict[str, Any]:
        return {"prompts": prompts, "ending": False, "mute": False} | more

    layers = [
        layer("rain\non a tent"),
        layer("birds"),
        layer("birds"),
        layer("sea", mute=True),
        layer("x", ending=True),
    ]
    assert title_of({"layers": layers}) == "rain on a tent + birds"
    assert title_of({"layers": []}) == "silence"
