"""What goes wrong in the course of the day, in turn. Every fault hits the engine that makes the programme, or all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from safa_server.measuring.day.clients import Puller
from safa_server.measuring.day.places import Cluster, IslandEngine
from safa_server.measuring.day.weather import SlowNetwork
from safa_stream.errors import FailureError

#: Bad weather lasts so long, and the head is away for so long, wall seconds.
LASTS, AWAY = 1.5, 0.5
#: Everything on a slow disk takes so much longer, and every piece on a slow network, seconds.
SLOW_DISK, SLOW_NETWORK = 0.03, 0.1
#: Clocks jump so far, seconds.
JUMP = 3600.0
#: An engine that was woken is watched for so long: it still believes that the session is its own.
AWAKE = 1.0
#: The programme has to be heard again so soon after any fault, and a new engine to be there, wall seconds.
RECOVERED, REPLACED = 30.0, 60.0
#: Frames after which it is heard again.
FRAMES = 8


@dataclass(slots=True)
class Times:
    """Of one kind of fault: the longest silence of the programme each time, wall seconds."""

    silences: list[float] = field(default_factory=list)


@dataclass
class Faults:
    """See the module. fenced: how often a woken engine held the session in an older epoch, and only the newer was
    heard; unfenced: how often the head took the older one's word; failed: those after which the programme stayed silent
    or that could not be done."""

    cluster: Cluster
    network: SlowNetwork
    programme: Puller
    times: dict[str, Times] = field(default_factory=dict)
    fenced: int = 0
    unfenced: int = 0
    failed: list[str] = field(default_factory=list)
    _number: int = 0

    async def next(self) -> str:
        """Let the next fault happen and wait until the programme is heard again; gives its name."""
        kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            self._killed,
            self._slow_disk,
            self._full_disk,
            self._slow_network,
            self._clock_jump,
            self._frozen,
            self._head_restarted,
        )
        kind = kinds[self._number % len(kinds)]
        name = kind.__name__.strip("_")
        self._number += 1
        self.programme.heard.listen_for_silence()
        try:
            await kind()
            await self._heard_again()
        except (FailureError, TimeoutError) as error:
            self.failed.append(f"{name}: {str(error) or type(error).__name__}")
        heard = self.programme.heard
        self.times.setdefault(name, Times()).silences.append(max(heard.silence, heard.silent_for()))
        self.cluster.forget_the_dead()
        return name

    async def _killed(self) -> None:
        victim = await self._holder()
        await asyncio.to_thread(victim.island.kill)
        await self._heard_again()
        await self._replaced()

    async def _slow_disk(self) -> None:
        self.cluster.disk.slow = SLOW_DISK
        await asyncio.sleep(LASTS)
        self.cluster.disk.slow = 0.0

    async def _full_disk(self) -> None:
        self.cluster.disk.full = True
        await asyncio.sleep(LASTS)
        self.cluster.disk.full = False

    async def _slow_network(self) -> None:
        self.network.delay = SLOW_NETWORK
        await asyncio.sleep(LASTS)
        self.network.break_off()
        self.network.delay = 0.0

    async def _clock_jump(self) -> None:
        self.cluster.clock.jumped += JUMP
        await self._heard_again()
        await self._replaced()

    async def _frozen(self) -> None:
        """An engine stands still and cannot be killed; another takes over; then it goes on as if nothing had been."""
        victim = await self._holder()
        victim.unreachable = True
        victim.island.freeze()
        try:
            async with asyncio.timeout(RECOVERED):
                while (found := await self.cluster.holder(self.programme.session)) is victim or found is None:
                    await asyncio.sleep(0.05)
            await self._heard_again()
        finally:
            victim.island.wake()
        await self._fencing(victim)
        victim.unreachable = False
        await self._replaced()

    async def _fencing(self, victim: IslandEngine) -> None:
        """Two engines hold the session: the older one's word must not count."""
        session = self.programme.session
        before, old = self.programme.heard.frames, (await victim.facts()).sessions.get(session)
        await asyncio.sleep(AWAKE)
        now = await self.cluster.holder(session)
        await self._heard_again(before)
        if now is None or now is victim:
            self.unfenced += 1
        elif old is not None:
            self.fenced += (await now.facts()).sessions[session].epoch > old.epoch

    async def _head_restarted(self) -> None:
        await asyncio.to_thread(self.cluster.end_head)
        await asyncio.sleep(AWAY)
        await self.cluster.begin_head()

    async def _holder(self) -> IslandEngine:
        """The engine that makes the programme."""
        async with asyncio.timeout(RECOVERED):
            while (found := await self.cluster.holder(self.programme.session)) is None:
                await asyncio.sleep(0.05)
        return found

    async def _heard_again(self, before: int | None = None) -> None:
        """Wait for a few more frames of the programme. Raises TimeoutError."""
        before = self.programme.heard.frames if before is None else before
        async with asyncio.timeout(RECOVERED):
            while self.programme.heard.frames < before + FRAMES and not self.programme.over:
                await asyncio.sleep(0.02)

    async def _replaced(self) -> None:
        """Wait until there are as many engines as there ought to be. Raises TimeoutError."""
        async with asyncio.timeout(REPLACED):
            while True:
                with suppress(FailureError):
                    if len((await self.cluster.door.status())["engines"]) >= self.cluster.wanted:
                        return
                await asyncio.sleep(0.05)
