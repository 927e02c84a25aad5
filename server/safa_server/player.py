"""Play one session on a sound device until its time is over or somebody says stop: what `safa-stream play` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from safa_server.blocks import Block
from safa_server.device import DeviceEvent, DeviceOutput, DeviceRequest, DeviceStatus
from safa_server.requests import OpenRequest
from safa_server.runner import Runner
from safa_server.station import Station
from safa_server.stations import Stations
from safa_stream.errors import FailureError
from safa_stream.models.interface import Model
from safa_stream.types import FloatArray

REPORT_SECONDS, LOOK_SECONDS = 0.2, 0.05


@dataclass(frozen=True, slots=True)
class PlayRequest:
    """What is played where. scene: as in OpenRequest; seconds: None plays on; lead: seconds kept ready, None: usual."""

    scene: Any
    device: DeviceRequest = field(default_factory=DeviceRequest)
    seconds: float | None = None
    lead: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How playing stands. seconds: played so far; lead: seconds made ahead; real_time_factor: speed of making."""

    seconds: float
    lead: float
    real_time_factor: float
    device: DeviceStatus


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told. take: samples [channels, N] that leave the session; stop: asked often whether to end."""

    take: Callable[[FloatArray], None]
    progress: Callable[[Progress], None]
    device: Callable[[DeviceEvent], None]
    stop: Callable[[], bool]


def play(model: Model, request: PlayRequest, listeners: Listeners) -> Progress:
    """Play and return how it ended. Raises UsageError (no such device or scene) or FailureError."""
    runner = Runner(model)
    try:
        return asyncio.run(_play(runner, request, listeners))
    finally:
        runner.stop()


async def _play(runner: Runner, request: PlayRequest, listeners: Listeners) -> Progress:
    station = await Stations(runner).open(OpenRequest(request.scene, "device", request.lead))
    station.pause()
    output = DeviceOutput(station, request.device, listeners.device)
    try:
        # The device first: what is wrong with it is said at once, before the machine's speed is measured.
        await output.start()
        await asyncio.to_thread(runner.start)
        station.on_block(_until(station, request.seconds, listeners.take))
        station.play()
        await _watch(runner, station, output, listeners)
    finally:
        await output.stop()
        ended = _progress(runner, station, output)
        station.close()
    return ended


def _until(station: Station, seconds: float | None, take: Callable[[FloatArray], None]) -> Callable[[Block], None]:
    """Hands blocks on, and pauses the session after the last one that is wanted."""
    last = None if seconds is None else round(seconds * station.rate)

    def hand_on(block: Block) -> None:
        take(block.samples)
        if last is not None and block.start + block.samples.shape[1] >= last:
            station.pause()

    return hand_on


async def _watch(runner: Runner, station: Station, output: DeviceOutput, listeners: Listeners) -> None:
    report_at = 0.0
    while station.playing and not listeners.stop():
        if station.failure is not None:
            raise FailureError(f"the model cannot go on: {station.failure}")
        output.check()
        now = asyncio.get_running_loop().time()
        if now >= report_at:
            report_at = now + REPORT_SECONDS
            listeners.progress(_progress(runner, station, output))
        await asyncio.sleep(LOOK_SECONDS)
    station.pause()


def _progress(runner: Runner, station: Station, output: DeviceOutput) -> Progress:
    return Progress(station.position / station.rate, station.lead, runner.pace.real_time_factor, output.status)
