"""A session on a sound device, with everything that left it and everything that was said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from safa_server.device import DeviceEvent, DeviceOutput, DeviceRequest, DeviceStatus
from safa_server.requests import OpenRequest
from safa_server.runner import Runner
from safa_server.station import Station
from safa_server.stations import Stations
from safa_stream.errors import SafaError
from safa_stream.types import FloatArray

PATIENCE = 30.0


class Played:
    """A session on a device, everything that left it, and everything that was said."""

    def __init__(self, runner: Runner, station: Station, device: str, **wanted: Any) -> None:
        self._runner = runner
        self.station, self.made, self.said = station, list[FloatArray](), list[DeviceEvent]()
        station.on_block(lambda block: self.made.append(block.samples))
        self.output = DeviceOutput(station, DeviceRequest(device, **wanted), self.said.append)

    @property
    def frames(self) -> FloatArray:
        """[N, channels]: what left the session."""
        return np.ascontiguousarray(np.concatenate(self.made, axis=1).T)

    @property
    def speed(self) -> float:
        """Seconds of sound that the engine makes in a second."""
        return self._runner.pace.real_time_factor

    async def play(self, seconds: float) -> None:
        """Let the session run for so long from where it is, then pause it."""
        aim = self.station.position + round(seconds * self.station.rate)
        self.station.play()
        async with asyncio.timeout(PATIENCE + 2 * seconds):
            while self.station.position < aim:
                self.output.check()
                await asyncio.sleep(0.02)
        self.station.pause()

    async def until(self, reached: Callable[[DeviceStatus], bool]) -> None:
        """Wait for the device to get there."""
        async with asyncio.timeout(PATIENCE):
            while not reached(self.output.status):
                self.output.check()
                await asyncio.sleep(0.02)


async def begin(runner: Runner, device: str, session_channels: int = 2, **wanted: Any) -> Played:
    """A session that takes credits, paused at its beginning, with its device open."""
    station = await Stations(runner).open(OpenRequest("rain, birds:0.5", "pull", channels=session_channels))
    station.pause()
    played = Played(runner, station, device, **wanted)
    try:
        await played.output.start()
    except SafaError:
        station.close()
        raise
    return played


async def perform(
    runner: Runner,
    device: str,
    recording: AbstractContextManager[None],
    seconds: float,
    session_channels: int = 2,
    **wanted: Any,
) -> Played:
    """Play for a while in front of a recorder."""
    played = await begin(runner, device, session_channels, **wanted)
    try:
        with recording:
            await played.play(seconds)
            await played.output.stop()
            # The server has it; now the recorder, too.
            await asyncio.sleep(0.3)
    finally:
        played.station.close()
    return played
