"""A sound device that goes away and comes back, and what is counted when sound is late or too much."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from safa_server.ring import FADE
from safa_server.runner import Runner
from safa_server.serve import serve
from safa_server.settings import Settings
from safa_stream.types import FloatArray
from tests.clients.playing import PATIENCE, Played, begin
from tests.clients.sound_servers import (
    SoundServer,
    equal_stretch,
    jack_recording,
    jack_server,
    pulse_recording,
    pulse_server,
    recorded,
)


class TestAway:
    @pytest.mark.parametrize("kind", ["jack", "pulse", "process"])
    def test_the_session_goes_on_and_the_device_comes_back(
        self, kind: str, runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        async def unplug(server: SoundServer) -> tuple[Played, int]:
            played = await begin(runner, server.device)
            station = played.station
            try:
                station.play()
                await played.until(lambda status: status.buffered > 0.1)
                if kind == "process":
                    os.kill(child_of_this_process(), signal.SIGKILL)
                else:
                    server.pull_out()
                await played.until(lambda status: not status.open)
                before, began = station.position, time.monotonic()
                async with asyncio.timeout(PATIENCE):
                    while station.position - before < 0.4 * station.rate:
                        await asyncio.sleep(0.01)
                assert time.monotonic() - began > 0.25, "the server's clock takes over, not as fast as it can"
                if kind != "process":
                    server.start()
                await played.until(lambda status: status.open and status.buffered > 0.1)
                # The recorder's start holds the event loop up, which is not what is tested here.
                station.pause()
                # What was granted before goes on to sound; the recording begins in the silence after it.
                await played.until(lambda status: status.buffered == 0)
                await asyncio.sleep(0.5)  # what the sound server itself still holds
                back = station.position
                with pulse_recording(heard) if kind == "pulse" else jack_recording(heard):
                    await played.play(0.5)
                await played.output.stop()
            finally:
                station.close()
            return played, back

        heard = tmp_path / ("heard.f32" if kind == "pulse" else "heard.wav")
        with pulse_server(monkeypatch, tmp_path) if kind == "pulse" else jack_server(monkeypatch) as server:
            played, back = asyncio.run(unplug(server))
        # A busy machine may be late with sound at any time, which is said as well.
        opened, lost, back_again = (event for event in played.said if event.name != "underrun")
        assert (opened.name, lost.name, back_again.name) == ("opened", "lost", "back")
        assert server.device.split()[0] in lost.text
        assert lost.position < back_again.position
        assert (played.output.status.lost, played.output.status.open) == (1, False)
        assert played.output.status.unheard > 0
        part = sounding(recorded(heard))
        at, equal = equal_stretch(played.frames, part)
        assert equal == len(part) > 12_000, "what it plays then is what the session makes"
        assert at + len(part) > back


class TestMetrics:
    def test_a_server_tells_whether_its_device_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def unplug(server: SoundServer) -> None:
            ready, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
            settings = Settings(port=0, osc_port=-1, prompt="rain", device=server.device, layers=1, drain_seconds=0.1)
            serving = asyncio.create_task(serve(settings, ready.set_result, stop))
            await asyncio.wait({ready, serving}, return_when=asyncio.FIRST_COMPLETED)
            metrics = f"http://127.0.0.1:{ready.result().port}/metrics"
            await told(metrics, safa_device_open=1.0, safa_device_away=0.0, safa_device_lost_total=0.0)
            server.pull_out()
            await told(metrics, safa_device_open=0.0, safa_device_away=1.0, safa_device_lost_total=1.0)
            server.start()
            await told(metrics, safa_device_open=1.0, safa_device_away=0.0, safa_device_lost_total=1.0)
            stop.set()
            await serving

        with jack_server(monkeypatch) as server:
            asyncio.run(unplug(server))


class TestCounters:
    def test_sound_that_somebody_else_granted_is_dropped_and_counted(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def flood(server: SoundServer) -> Played:
            played = await begin(runner, server.device)
            try:
                await played.until(lambda status: played.station.lead > 5)
                played.station.grant(48_000 * 4)
                await played.play(4.5)
                await played.output.stop()
            finally:
                played.station.close()
            return played

        with jack_server(monkeypatch) as server:
            status = asyncio.run(flood(server)).output.status
        assert status.dropped > 24_000
        assert status.lost == 0

    def test_late_sound_is_an_underrun_and_said_so(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        async def stall(server: SoundServer) -> Played:
            played = await begin(runner, server.device)
            try:
                await played.play(0.5)
                played.station.play()
                await played.until(lambda status: status.buffered > 0.1)
                # What an overloaded machine does to the event loop.
                began = time.monotonic()
                time.sleep(0.6)
                await played.until(lambda status: status.underruns > 0 and status.buffered > 0.3)
                stalled.append(time.monotonic() - began)
                # The buffer has grown by then.
                time.sleep(0.3)
                await played.until(lambda status: status.buffered > 0.3)
                await played.output.stop()
            finally:
                played.station.close()
            return played

        stalled: list[float] = []
        with jack_server(monkeypatch) as server:
            played = asyncio.run(stall(server))
        assert played.output.status.underruns == 1
        assert 0.2 < played.output.status.missing < stalled[0]
        (said,) = [event for event in played.said if event.name == "underrun"]
        assert "1 time(s)" in said.text and "0.4 s are kept ready" in said.text

    def test_a_session_that_was_closed_is_no_underrun(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        async def close(server: SoundServer) -> Played:
            played = await begin(runner, server.device)
            played.station.play()
            await played.until(lambda status: status.buffered > 0.1)
            played.station.close()
            await asyncio.sleep(0.5)
            await played.output.stop()
            return played

        with jack_server(monkeypatch) as server:
            status = asyncio.run(close(server)).output.status
        assert (status.underruns, status.missing, status.lost) == (0, 0, 0)

    def test_a_pause_is_no_underrun(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        async def pause(server: SoundServer) -> Played:
            played = await begin(runner, server.device)
            try:
                for _ in range(3):
                    await played.play(0.2)
                    await asyncio.sleep(0.4)
                await played.output.stop()
            finally:
                played.station.close()
            return played

        with jack_server(monkeypatch) as server:
            status = asyncio.run(pause(server)).output.status
        assert (status.underruns, status.missing) == (0, 0)


async def told(metrics: str, **expected: float) -> None:
    """Wait until a server's metrics say so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            text = await asyncio.to_thread(lambda: urlopen(metrics).read().decode())
            read = [one for family in text_string_to_metric_families(text) for one in family.samples]
            if expected.items() <= {sample.name: sample.value for sample in read}.items():
                return
            await asyncio.sleep(0.2)


def sounding(frames: FloatArray) -> FloatArray:
    """Frames [N, 2] from the first that is not silent to the last, without the fades at both ends."""
    loud = np.flatnonzero(frames.any(axis=1))
    return frames[loud[0] + FADE : loud[-1] + 1 - 2 * FADE]


def child_of_this_process() -> int:
    """The number of the one device process that this one has begun."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words, stat = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:
            continue
        if b"safa_server.device_process" in words and int(stat.rsplit(")", 1)[1].split()[1]) == os.getpid():
            found.append(int(folder.name))
    (child,) = found
    return child
