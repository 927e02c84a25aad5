"""An installation as a process: its sensors' port, their log, its clock, and the end on SIGTERM."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from safa_server.direction.conductor import Clock, Sensors, conduct, listen
from safa_server.direction.link import Link
from safa_server.direction.programme import Programme
from safa_server.direction.rehearsal import Heard
from safa_server.direction.service import notify
from safa_server.serve import stop_on_signals
from safa_stream.errors import OutputError


@dataclass(frozen=True, slots=True)
class Place:
    """Where sensors send to (UDP; port 0 takes a free one), and the file that keeps what they said."""

    osc_host: str = "127.0.0.1"
    osc_port: int = 9700
    sensor_log: Path | None = None


def direct(programme: Programme, find: Callable[[], Link], place: Place, speed: float = 1.0) -> None:
    """Direct until SIGTERM or SIGINT, on an event loop of its own. Raises SafaError for what cannot be opened."""
    with ExitStack() as stack:
        log = None if place.sensor_log is None else stack.enter_context(_opened(place.sensor_log))

        def keep(heard: Heard) -> None:
            if log is not None:
                log.write(heard.line() + "\n")

        asyncio.run(_alone(programme, find, place, Sensors(programme, keep), Clock.started(speed)))


def _opened(path: Path) -> TextIO:
    """A file that lines are added to, each of them at once."""
    try:
        return path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise OutputError(f"cannot write the sensor log {path}: {error.strerror}") from error


async def _alone(programme: Programme, find: Callable[[], Link], place: Place, sensors: Sensors, clock: Clock) -> None:
    stop = stop_on_signals()
    port = await listen(sensors, place.osc_host, place.osc_port) if programme.sensors else None
    try:
        await conduct(programme, find, sensors, clock, stop)
    finally:
        notify(STOPPING=1)
        if port is not None:
            port.close()
