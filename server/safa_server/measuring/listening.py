"""What is watched while a soak goes on: clients that behave, one a session, and the server's memory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from safa_server.client import SafaClient
from safa_server.measuring.account import Account
from safa_server.measuring.hostile import Witness
from safa_server.measuring.servers import Report, Running
from safa_stream.errors import FailureError

#: Memory is read so often, and every so many readings something is said.
LOOK_SECONDS, LOOKS_A_LINE = 1.0, 10


@dataclass(slots=True)
class Listening:
    """A session and the client that behaves: it opened it, reads every frame, and does nothing else."""

    client: SafaClient
    attacked: bool
    account: Account = field(default_factory=Account)
    witness: Witness = field(default_factory=Witness)
    began: float = 0.0
    underruns: int = 0
    fewer_steps: int = 0
    dropped: int = 0
    told: str | None = None

    @property
    def lag(self) -> float:
        """Seconds that its sound is behind the clock since the first frame."""
        head = self.client.last
        return 0.0 if head is None else time.monotonic() - self.began - self.account.samples / head.rate

    async def listen(self) -> None:
        """Until cancelled. Raises FailureError where the session ends."""
        async for frame in self.client:
            head = frame.header
            self.began = self.began or time.monotonic()
            self.account.take(head.sequence, head.start, head.frames)
            if self.attacked:
                self.witness.saw(head.sequence, frame.payload)
            while self.client.events:
                self._hear(self.client.events.popleft())
        raise FailureError("a session ended")

    def _hear(self, event: dict[str, Any]) -> None:
        self.underruns += event["type"] == "bed.began"
        self.fewer_steps += event["type"] == "fewer_steps"
        if event["type"] == "dropped":
            self.dropped += event["samples"]
        if event["type"] == "error":
            self.told = event["reason"]


@dataclass(slots=True)
class Watch:
    """The server's memory over time, in bytes; metrics: the latest."""

    readings: list[tuple[float, int]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    async def look(self, server: Running, sessions: list[Listening], report: Report) -> None:
        """Read until cancelled."""
        began = time.monotonic()
        while True:
            at = time.monotonic() - began
            self.readings.append((at, server.memory()))
            self.metrics = await server.metrics()
            if len(self.readings) % LOOKS_A_LINE == 1:
                missing = sum(one.account.missing for one in sessions)
                late = sum(one.underruns for one in sessions if not one.attacked)
                report(f"{at:.0f} s: {self.readings[-1][1] / 1e6:.0f} MB, {missing} samples missing, {late} underruns")
            await asyncio.sleep(LOOK_SECONDS)

    def growth(self, warm: float) -> float:
        """Of memory from after `warm` seconds to the end: medians of the first and of the last fifth of that time."""
        later = [size for at, size in self.readings if at >= warm] or [self.readings[-1][1]]
        fifth = max(1, len(later) // 5)
        return float(np.median(later[-fifth:]) / np.median(later[:fifth])) - 1.0
