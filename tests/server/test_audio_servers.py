"""Real audio servers: what JACK and PulseAudio were given equals what the session made, to the last bit.

A few seconds each. For the long proof: SAFA_SOUND_SECONDS=600 pytest tests/server/test_audio_servers.py -k exactly
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from safa_server.ring import FADE
from safa_server.runner import Runner
from safa_stream.channels import channel_map
from safa_stream.rendering.conversion import Resampler
from safa_stream.types import FloatArray
from tests.clients.playing import Played, perform
from tests.clients.sound_servers import (
    equal_stretch,
    jack_recording,
    jack_server,
    pulse_recording,
    pulse_server,
    recorded,
)

SECONDS = float(os.environ.get("SAFA_SOUND_SECONDS", "3"))
#: Seconds between session and device: other work on the machine may hold the event loop up for a while.
BUFFER = 0.5


def assert_heard(played: Played, file: Path, made: FloatArray | None = None) -> None:
    """Every frame from the first to the last, none late, none lost. made: what is to be heard, if not what left."""
    status = played.output.status
    # First what went wrong on our side, then what reached the server.
    late = (status.underruns, status.missing, status.dropped, status.unheard, status.lost)
    assert late == (0, 0, 0, 0, 0), f"{status}; the engine made sound at {played.speed:.2f} x real time"
    assert [event.name for event in played.said] == ["opened"]
    heard, made = recorded(file), played.frames if made is None else made
    at, equal = equal_stretch(heard, made)
    assert len(made) >= SECONDS * played.station.rate
    assert equal == len(made), f"{equal} of {len(made)} frames are equal, found from recorded frame {at} on"
    assert not heard[at + len(made) + FADE :].any()


class TestExactly:
    def test_what_jack_was_given_is_what_was_made(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with jack_server(monkeypatch) as server:
            file = tmp_path / "heard.wav"
            played = asyncio.run(perform(runner, server.device, jack_recording(file), SECONDS, buffer=BUFFER))
        assert_heard(played, file)

    def test_what_pulseaudio_was_given_is_what_was_made(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with pulse_server(monkeypatch, tmp_path) as server:
            file = tmp_path / "heard.f32"
            played = asyncio.run(perform(runner, server.device, pulse_recording(file), SECONDS, buffer=BUFFER))
        assert_heard(played, file)
        assert played.output.status.latency == pytest.approx(0.1, abs=0.05)


class TestManyChannels:
    """Groups of the model through as many ports of JACK, as they are and by a map."""

    @pytest.mark.parametrize(("channels", "spec"), [(4, None), (5, "5.1")])
    def test_what_jack_was_given_is_what_was_made(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, channels: int, spec: str | None
    ) -> None:
        outputs = channels if spec is None else channel_map(spec).outputs
        with jack_server(monkeypatch, channels=outputs) as server:
            file = tmp_path / "heard.wav"
            ports = tuple(f"PortAudio:out_{port}" for port in range(outputs))
            recording = jack_recording(file, ports)
            played = asyncio.run(
                perform(runner, server.device, recording, SECONDS, channels, buffer=BUFFER, channel_map=spec)
            )
        made = played.frames
        assert made.shape[1] == channels and (np.abs(made).max(axis=0) > 0.001).all()
        wanted = made if spec is None else np.ascontiguousarray(channel_map(spec).apply(made.T).T)
        assert played.output.status.channels == outputs
        assert_heard(played, file, wanted)


class TestOtherSettings:
    def test_a_device_of_another_rate_gets_the_resampled_session(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with jack_server(monkeypatch, rate=44_100) as server:
            file = tmp_path / "heard.wav"
            played = asyncio.run(perform(runner, server.device, jack_recording(file), 1.0))
        resampler = Resampler(48_000, 44_100, 2)
        made = np.concatenate([resampler.push(samples) for samples in played.made], axis=1)
        at, equal = equal_stretch(recorded(file, 44_100), np.ascontiguousarray(made.T))
        assert equal == made.shape[1] > 40_000
        assert (played.output.status.rate, played.output.status.underruns) == (44_100, 0)
