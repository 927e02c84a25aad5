"""Sessions that follow a tempo from outside: looks at the leader, and tells each session what it has to be told.

leader ─► reading at the moment when a session's next sample is heard ─► correction ─► Station.submit
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from safa_server.blocks import Block
from safa_server.osc_clock import PAUSED_NS, REMEMBERED, SampleClock
from safa_server.station import Station
from safa_server.stations import Stations
from safa_server.tempo_follow import Leader, correction
from safa_stream.errors import SafaError

#: How often a leader is looked at, seconds.
SECONDS = 0.02

log = logging.getLogger("safa_server.tempo")


class Followed:
    """One session that follows. heard: its sample that is heard now, where something knows that better than we do."""

    def __init__(self, station: Station, latency: float, heard: Callable[[], int | None]) -> None:
        self.station, self._latency, self._heard = station, latency, heard
        self._clock = SampleClock(station.rate)
        self._zeros: deque[int] = deque(maxlen=REMEMBERED)
        self._stands = True
        self._playing: bool | None = None
        self._end = station.on_block(self._left)

    def close(self) -> None:
        """Follow no more."""
        self._end()

    def look(self, leader: Leader, transport: bool, now_ns: int) -> None:
        """Tell the session what it has to be told now. transport: its clock starts and stops with the leader."""
        station, grid = self.station, self.station.grid
        when = self._when(now_ns)
        reading = leader.reading(now_ns if when is None else when, grid.beats_per_bar)
        if reading is None:
            return
        if transport and reading.playing is not None and reading.playing != self._playing:
            self._playing = reading.playing
            (station.play if reading.playing else station.pause)()
        if not station.playing:
            self._stands = True
        # While its clock stands there is no moment at which its next sample is heard.
        if self._stands or when is None:
            return
        told = correction(grid, station.position, reading)
        if told is not None:
            station.submit(told)

    def _left(self, block: Block) -> None:
        self._stands = False
        self._clock.left(block.start, block.clock_ns)

    def _when(self, now_ns: int) -> int | None:
        """The moment at which the sound of what the session does at its next sample is heard."""
        station, heard = self.station, self._heard()
        behind = round((self._latency + station.delay / station.rate) * 1e9)
        if heard is None:
            left = self._clock.when(station.position)
            return None if left is None else left + behind
        zero = now_ns - heard * 1_000_000_000 // station.rate
        if self._zeros and abs(zero - self._zeros[-1]) > PAUSED_NS:
            self._zeros.clear()
        self._zeros.append(zero)
        return sorted(self._zeros)[len(self._zeros) // 2] + station.position * 1_000_000_000 // station.rate + behind


async def follow(
    leader: Leader, stations: Stations, transport: bool, latency: float, heard: Callable[[Station], int | None]
) -> None:
    """Let all sessions that run by a clock follow, until cancelled; those with pacing "pull" keep time for themselves.

    latency: seconds that sound is on its way from a session to the ear; heard: as of `Followed`, by session.
    """
    followed: dict[str, Followed] = {}
    while True:
        going = {station.id: station for station in stations.all() if station.pacing != "pull"}
        for key in followed.keys() - going.keys():
            followed.pop(key).close()
        for key, station in going.items():
            if key not in followed:
                followed[key] = Followed(station, latency, partial(heard, station))
            try:
                followed[key].look(leader, transport, time.monotonic_ns())
            except SafaError as error:
                log.warning("session %s does not follow: %s", key, error)
        first = stations.main or next(iter(going.values()), None)
        if first is not None:
            leader.offer(first.grid.bpm)
        await asyncio.sleep(SECONDS)
