"""A programme carried out: the director's commands go to a session by WebSocket, sensors come in by OSC. For weeks.

Whatever happens to the connection, the session is found again and taken over; what the server refuses is logged and
tried later. Systemd, if it started this, hears once the session is there and that this is alive.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from safa_server.client import Refused, SafaClient
from safa_server.control import Ping
from safa_server.direction.course import Course
from safa_server.direction.director import TICK, begin, refused, step
from safa_server.direction.link import Link
from safa_server.direction.programme import Programme
from safa_server.direction.rehearsal import Heard, shown
from safa_server.direction.senses import Reading
from safa_server.direction.service import notify
from safa_server.osc_packet import PacketError, read_packet
from safa_server.osc_sockets import UdpEndpoint
from safa_server.osc_subscribers import Destination
from safa_stream.errors import FailureError, SafaError
from safa_stream.session.messages import AddLayer, Command, Prompt

Value = TypeVar("Value")
log = logging.getLogger("safa_server.direction")

#: Seconds between tries to reach the server; the longest of them is kept to.
PAUSES = (0.5, 1.0, 2.0, 5.0)
#: The server is asked so often whether it is there, and has so long to answer, seconds.
ASK_SECONDS, ANSWER_SECONDS = 10.0, 20.0
#: A clock that jumps farther than this (a machine without one got the time, or slept) is not run after.
JUMP_SECONDS = 120.0
#: Seconds that a session takes to end a layer after its fade, at most; in those of the session's clock.
SPARE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Clock:
    """speed: seconds of the programme in a second; begin: when it began, on the clocks of wall and machine."""

    speed: float = 1.0
    wall: float = 0.0
    machine: float = 0.0

    @classmethod
    def started(cls, speed: float = 1.0) -> Clock:
        """One that shows the time on the wall now."""
        return cls(speed, time.time(), time.monotonic())

    def now(self) -> float:
        """Seconds since 1970; at speed 1 those of the wall, which may be set meanwhile."""
        return time.time() if self.speed == 1.0 else self.wall + self.speed * (time.monotonic() - self.machine)


class Sensors:
    """What came by OSC since it was last asked for: of each address in the programme the last number."""

    def __init__(self, programme: Programme, keep: Callable[[Heard], None] = lambda heard: None) -> None:
        self._known = frozenset(sensor.address for sensor in programme.sensors)
        self._keep, self._came = keep, dict[str, float]()

    def received(self, packet: bytes, peer: Destination) -> None:
        """A packet; what is no OSC, or from no sensor of the programme, is left alone."""
        with suppress(PacketError):
            for message in read_packet(packet):
                value = message.arguments[0] if message.arguments else 1.0
                if message.address in self._known and isinstance(value, int | float):
                    self._came[message.address] = float(value)

    def take(self, now: float) -> list[Reading]:
        """What came, once."""
        readings = [Reading(address, value) for address, value in self._came.items()]
        self._came.clear()
        for reading in readings:
            self._keep(Heard(now, reading))
        return readings


async def conduct(
    programme: Programme, find: Callable[[], Link], sensors: Sensors, clock: Clock, stop: asyncio.Event
) -> None:
    """Direct the session that `find` gives until `stop`; find raises FailureError while there is none."""
    programme = replace(programme, spare=max(programme.spare, SPARE_SECONDS * clock.speed))
    tries = 0
    while not stop.is_set():
        try:
            link = find()
            async with SafaClient.connect(link.url) as client:
                # The sound is not needed here: the least of it that the protocol gives.
                await _answer(client.join(link.session, link.token, control=True, format="s16", channels=1))
                log.info("directing session %s", link.session)
                tries = 0
                await _direct(programme, client, sensors, clock, stop)
        except SafaError as error:
            log.warning("%s", error)
            notify(WATCHDOG=1, STATUS=error)
        await _pause(stop, PAUSES[min(tries, len(PAUSES) - 1)])
        tries += 1


async def listen(sensors: Sensors, host: str, port: int) -> UdpEndpoint:
    """The port that sensors send to. Raises UsageError where it cannot be opened."""
    return await UdpEndpoint.open(host, port, sensors.received, lambda peer: None)


def hastened(command: Command, speed: float) -> Command:
    """The same for a session whose clock is slower than the programme's: shorter morphs and ramps."""
    if isinstance(command, Prompt):
        return replace(command, morph=command.morph / speed)
    ramp = getattr(command, "ramp", None)
    return command if ramp is None else replace(command, **{"ramp": ramp / speed})


async def _direct(
    programme: Programme, client: SafaClient, sensors: Sensors, clock: Clock, stop: asyncio.Event
) -> None:
    """Take the session over and direct it until `stop`, or until the clock jumps. Raises SafaError when it is lost."""
    hearing = asyncio.create_task(_hear(client), name="frames")
    try:
        state = await _answer(client.state())
        layers = {layer["layer"]: layer["prompts"] for layer in state["layers"] if not layer["ending"]}
        course, commands = begin(programme, clock.now(), layers)
        course = await _say(client, course, commands, clock.speed)
        notify(READY=1, WATCHDOG=1, STATUS="directing")
        asked = time.monotonic()
        while not stop.is_set():
            await _pause(stop, min(TICK, max(0.01, (course.now + TICK - clock.now()) / clock.speed)))
            if abs(clock.now() - course.now) > JUMP_SECONDS * clock.speed:
                log.warning("the clock jumped by %.0f s; taking the session over again", clock.now() - course.now)
                return
            while course.now + TICK <= clock.now():
                course, commands = step(programme, course, sensors.take(course.now + TICK))
                course = await _say(client, course, commands, clock.speed)
            if time.monotonic() - asked > ASK_SECONDS:
                await _answer(client.ask(Ping(client_clock=time.monotonic())))
                asked = time.monotonic()
            if hearing.done():
                hearing.result()
                raise FailureError("the session was closed")
            notify(WATCHDOG=1)
    finally:
        hearing.cancel()
        with suppress(asyncio.CancelledError, SafaError):
            await hearing


async def _say(client: SafaClient, course: Course, commands: tuple[Command, ...], speed: float) -> Course:
    """Tell the session; what it refuses is as if it had not been said."""
    for command in commands:
        log.info("%s", shown(command))
        try:
            await _answer(client.send(hastened(command, speed)))
        except Refused as error:
            log.warning("refused: %s (%s)", error, shown(command))
            if isinstance(command, AddLayer) and command.layer is not None:
                course = refused(course, command.layer)
    return course


async def _answer(asked: Awaitable[Value]) -> Value:
    """What the server answers. Raises FailureError where it does not."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asked
    except TimeoutError:
        raise FailureError("the server does not answer") from None


async def _hear(client: SafaClient) -> None:
    """Let the frames go by; ends with the session, raises FailureError where it is lost."""
    async for _ in client:
        pass


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
