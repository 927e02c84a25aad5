"""Sound devices: which one is meant, what it gets, what is said when it cannot, and what happens when it goes away."""

from __future__ import annotations

import asyncio
import ctypes.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from safa_server.device import DeviceOutput, DeviceRequest
from safa_server.device_pipe import DeviceProcess
from safa_server.device_process import AUDIO, HEADER, LARGEST_PAYLOAD, Order, spread
from safa_server.devices import OutputDevice, choose, plausible, portaudio
from safa_server.requests import OpenRequest
from safa_server.runner import Runner
from safa_server.stations import Stations
from safa_stream.errors import FailureError, UsageError
from tests.clients.playing import begin
from tests.clients.sound_servers import jack_server

FOUND = (
    OutputDevice(0, "HDA Intel: ALC (hw:0,0)", "ALSA", 2, 44_100, 0.03, False),
    OutputDevice(3, "USB Audio: Scarlett (hw:1,0)", "ALSA", 4, 48_000, 0.03, False),
    OutputDevice(4, "default", "ALSA", 128, 44_100, 0.03, True),
    OutputDevice(5, "default rear", "ALSA", 128, 44_100, 0.03, False),
    OutputDevice(7, "system", "JACK Audio Connection Kit", 2, 48_000, None, False),
)
ORDER = Order("no such thing", 48_000, 2, None, None, 1.0, 0.1, 0.1, False)


class TestWhichDevice:
    @pytest.mark.parametrize(
        ("wanted", "index"),
        [
            (None, 4), ("7", 7), ("system", 7), ("jack", 7), ("System JACK", 7), ("scarlett", 3), ("usb alsa", 3),
            ("default", 4), ("default (ALSA)", 4), ("rear", 5), ("hw:0,0", 0),
        ],
    )  # fmt: skip
    def test_one_is_meant(self, wanted: str | None, index: int) -> None:
        assert choose(FOUND, wanted).index == index

    @pytest.mark.parametrize("wanted", ["9", "bluetooth", "", "  ", "scarlett jack"])
    def test_none_is_meant(self, wanted: str) -> None:
        with pytest.raises(UsageError, match="there are: 0 HDA Intel.*7 system"):
            choose(FOUND, wanted)

    def test_several_could_be_meant(self) -> None:
        with pytest.raises(UsageError, match="could be any of: 0 HDA.*3 USB"):
            choose(FOUND, "hw alsa")

    def test_there_is_none(self) -> None:
        with pytest.raises(FailureError, match="PortAudio finds none"):
            choose((), None)

    @pytest.mark.parametrize(("seconds", "said"), [(0.1, 0.1), (0.0, None), (89_478.5, None), (float("nan"), None)])
    def test_latencies_that_were_made_up_are_not_told(self, seconds: float, said: float | None) -> None:
        assert plausible(seconds) == said

    def test_the_library_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def find(name: str) -> None:
            return None

        monkeypatch.setattr(ctypes.util, "find_library", find)
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
        with pytest.raises(FailureError, match="apt-get install libportaudio2"):
            portaudio()


class TestChannels:
    SOUND = np.array([[1, 2, 3], [5, 6, 9]], np.float32)

    @pytest.mark.parametrize(
        ("channels", "frames"),
        [
            (1, [[3], [4], [6]]),
            (2, [[1, 5], [2, 6], [3, 9]]),
            (4, [[1, 5, 0, 0], [2, 6, 0, 0], [3, 9, 0, 0]]),
        ],
    )
    def test_stereo_on_any_device(self, channels: int, frames: list[list[float]]) -> None:
        np.testing.assert_array_equal(spread(self.SOUND, channels), np.array(frames, np.float32))

    def test_mono_is_heard_on_both_sides(self) -> None:
        np.testing.assert_array_equal(spread(self.SOUND[:1], 3), np.array([[1, 1, 0], [2, 2, 0], [3, 3, 0]]))

    @pytest.mark.parametrize(
        ("channels", "outputs", "frame"),
        [(1, 1, [1.5]), (5, 2, [1, 2]), (5, 8, [1, 2, 3, 4, 5, 0, 0, 0])],
    )
    def test_many_channels_follow_each_other(self, channels: int, outputs: int, frame: list[float]) -> None:
        sound = np.arange(1, 6, dtype=np.float32)[:, None]
        assert spread(sound if channels > 1 else sound[:4], outputs).tolist() == [frame]

    def test_a_map_says_which_output_gets_what(self) -> None:
        asked = replace(ORDER, channels=8, channel_map="ambix").mapping
        # All channels of the session are sources around the listener.
        assert asked is not None and (asked.channels, asked.outputs) == (8, 4)
        assert replace(ORDER, channels=8).mapping is None
        with pytest.raises(UsageError, match="'7.1' takes 7 channels, the session has 2"):
            _ = replace(ORDER, channel_map="7.1").mapping
        with pytest.raises(UsageError, match="is none of"):
            DeviceRequest(channel_map="3.3")


class TestWhatCannotBe:
    @pytest.mark.parametrize("wrong", [{"buffer": 0.0}, {"buffer": 60.0}, {"buffer": float("nan")}, {"latency": 0.0}])
    def test_requests(self, wrong: dict[str, float]) -> None:
        with pytest.raises(UsageError, match="the device's (buffer|latency) must be"):
            DeviceRequest(**wrong)

    def test_a_session_that_the_clock_drives(self, runner: Runner) -> None:
        async def refused() -> None:
            station = await Stations(runner).open(OpenRequest("rain", "live"))
            try:
                with pytest.raises(UsageError, match="sets the pace"):
                    DeviceOutput(station, DeviceRequest(), print)
            finally:
                station.close()

        asyncio.run(refused())

    def test_what_a_device_cannot_is_said(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        async def refused(name: str, **wanted: Any) -> str:
            with pytest.raises(UsageError) as caught:
                await begin(runner, name, **wanted)
            return str(caught.value)

        with jack_server(monkeypatch) as server:
            assert "cannot play at 96000 Hz; it can at 48000" in asyncio.run(refused(server.device, rate=96_000))
            assert "has 1 to 2 channels, not 3" in asyncio.run(refused(server.device, channels=3))
            said = asyncio.run(refused(server.device, session_channels=4, channel_map="quad"))
            assert "has 2 channels, channel map 'quad' needs 4" in said
            assert "system (JACK" in asyncio.run(refused("no such thing"))


class TestProcess:
    def test_it_says_what_failed_and_ends(self) -> None:
        async def refused() -> None:
            with pytest.raises((UsageError, FailureError), match="no sound device"):
                await DeviceProcess.open(ORDER)

        asyncio.run(refused())

    @pytest.mark.parametrize(
        "message",
        [HEADER.pack(AUDIO, LARGEST_PAYLOAD + 1), HEADER.pack(AUDIO, 7) + b"1234567", HEADER.pack(AUDIO, 8)[:3]],
        ids=["too long", "no whole frames", "cut off"],
    )
    def test_wrong_messages_end_it_with_a_line_and_no_trace(
        self, message: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order = json.dumps(asdict(replace(ORDER, device="system JACK"))).encode()
        with jack_server(monkeypatch):
            done = subprocess.run(
                [sys.executable, "-m", "safa_server.device_process"],
                input=order + b"\n" + message,
                capture_output=True,
                timeout=20,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["event"] for line in told] == ["opened", "failed"]
        assert "Error" not in told[1]["text"]
        assert done.stderr == b""
