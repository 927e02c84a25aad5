"""One plugin and its session: sound from the server into the ring, what happens in the host to the server.

    every POLL_SECONDS:  read ──► events ──► commands ──► grant

In this order. Events of a block are stored before the index that follows it, and one connection's messages are carried
out in order; so the server knows of a command before it may make the sound that the command is meant for, however fast
the host pulls. The plugin tells its host a latency of what is asked for ahead and a margin; a command acts just so long
after its event.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np

from safa_server.blocks import BLOCK
from safa_server.bridge.clock import Clock
from safa_server.bridge.document import Document
from safa_server.bridge.project import Project
from safa_server.bridge.segment import AWAY, CONNECTING, PLAYING, PluginStatus, Segment
from safa_server.bridge.steering import Order, Steering
from safa_server.client import Ended, Refused, SafaClient
from safa_server.control import Close, Grant, Pause, Play
from safa_stream.errors import SafaError, UsageError
from safa_stream.session.livescene import LiveScene
from safa_stream.session.messages import Command, Freeze, Prompt

POLL_SECONDS = 0.005
#: Between two tries to reach the server, and between two looks at what the session has become.
RETRY_SECONDS, LOOK_SECONDS = 0.3, 0.25
CLOSE_SECONDS = 1.0
#: A grant is worth a message from so many samples on.
LEAST_GRANT = 480
#: Frames of other rates leave a few blocks later than the session's: so much more is asked for, in seconds.
RESAMPLER_SECONDS = 0.06

log = logging.getLogger("safa_server.bridge")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the server is. lead: seconds of sound that it keeps ahead, None is its default; url: of the WebSocket."""

    url: str
    token: str | None = None
    lead: float | None = None

    def page(self, session: Mapping[str, str]) -> str:
        """The page that steers a session."""
        base = self.url.replace("ws", "http", 1).rpartition("/")[0]
        return f"{base}/#{urlencode(session)}"


class Instance:
    """See the module. scene: what it begins with where the project holds nothing; file_slots: the prompts file's texts
    for an instance's number, None where it has none."""

    def __init__(
        self,
        name: str,
        segment: Segment,
        server: ServerAddress,
        scene: LiveScene | None = None,
        file_slots: Callable[[int], tuple[str, ...] | None] = lambda number: None,
    ) -> None:
        self.name = name
        self._segment, self._server, self._file_slots = segment, server, file_slots
        self._project = Project(Document.new(scene))
        self._steering = Steering(48_000, self._project.document.slots)
        self._slots_said: tuple[str, ...] | None = None
        #: The session that it has, to come back to: the answer to `open` or `join`.
        self._opened: dict[str, Any] | None = None
        self._last: int | None = None
        self._anew = False
        self._said = ""

    @property
    def _pacing(self) -> str:
        """A host that waits for the sound gets all of it as it should be; for one that does not, a bed is better."""
        return "pull" if self._steering.values["wait"] > 0.5 else "host"

    async def run(self) -> None:
        """Serve the plugin until this is cancelled."""
        self._take_over()
        self._segment.attach(random.randrange(1, 2**32))
        while True:
            try:
                await self._on_air()
            except (SafaError, OSError) as error:
                self._segment.tell(AWAY)
                self._say(str(error))
                await self._pause(RETRY_SECONDS)

    async def _on_air(self) -> None:
        """One connection, from its first message until the plugin wants something else or it breaks."""
        status = await self._until_it_plays()
        async with SafaClient.connect(self._server.url, self._server.token) as client:
            clock = await self._attach(client, status)
            receiving = asyncio.create_task(self._receive(client, clock))
            try:
                await self._steer(client, clock, status.rate, receiving)
                if self._anew:
                    await self._close(client)
            except asyncio.CancelledError:
                # The plugin is gone, and its session with it.
                await self._close(client)
                raise
            finally:
                receiving.cancel()
                # It may have been over just now; what ended it has been told.
                await asyncio.gather(receiving, return_exceptions=True)

    async def _close(self, client: SafaClient) -> None:
        """End the session for good."""
        with suppress(SafaError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.send(Close())

    async def _until_it_plays(self) -> PluginStatus:
        """Wait until the host runs the plugin and it has said all of its parameters."""
        while True:
            status = self._listen()[0]
            if status.active and self._steering.complete:
                return status
            await asyncio.sleep(POLL_SECONDS)

    async def _attach(self, client: SafaClient, status: PluginStatus) -> Clock:
        """Come back to the session, or begin one."""
        if self._anew:
            self._opened = None
        if self._opened is not None:
            await self._come_back(client, status, self._opened)
        if self._opened is None:
            self._opened = await self._open(client, status)
        self._steering.rate = status.rate
        clock = Clock(status.rate, self._opened["session_rate"], self._opened["state"]["delay"])
        # Nothing that lies in the ring precedes what comes now, unless every frame since the last one is still kept.
        if self._last is None or self._opened["resumed_from"] != self._last + 1:
            self._segment.cut(status.rate)
        at = self._opened["position"] * status.rate // self._opened["session_rate"]
        clock.begin(self._segment.written, at)
        self._steering.layers = frozenset(one["layer"] for one in self._opened["state"]["layers"])
        self._segment.tell(PLAYING, self._opened["session"], not self._steering.runs)
        # Behind # it is not sent, and not logged by anybody else.
        page = self._server.page({"session": self._opened["session"], "token": self._opened["token"], "control": "1"})
        self._say(f"plays session {self._opened['session']}; its page: {page}")
        return clock

    async def _come_back(self, client: SafaClient, status: PluginStatus, before: dict[str, Any]) -> None:
        """Join the session where it is kept still."""
        after = self._last if before["rate"] == status.rate else None
        join = client.join(before["session"], before["token"], control=True, rate=status.rate, channels=2, from_=after)
        try:
            self._opened = await join
        except Refused:
            self._opened = None

    async def _open(self, client: SafaClient, status: PluginStatus) -> dict[str, Any]:
        """A new session of what the project holds."""
        self._segment.tell(CONNECTING)
        self._anew, self._last = False, None
        number = int(self._steering.values["number"])
        self._slots_said = self._file_slots(number)
        document = self._project.begin(self._steering.values, self._slots_said)
        self._steering.slots = document.slots
        self._steering.forget()
        opened = await client.open(
            document.scene.as_dict(),
            pacing=self._pacing,
            rate=status.rate,
            channels=2,
            lead=self._server.lead,
            name=f"plugin {number}",
        )
        self._segment.tell_scene(document.as_json())
        if self._steering.values["freeze"] > 0.5:
            await client.send(Freeze(on=True))
        return opened

    async def _receive(self, client: SafaClient, clock: Clock) -> None:
        """Frames into the ring."""
        following: int | None = None
        async for frame in client:
            head = frame.header
            if head.start != following:
                # Where sound is missing, what comes does not follow what lies in the ring.
                if following is not None:
                    self._segment.cut(head.rate)
                clock.begin(self._segment.written, head.start)
            self._segment.write(np.ascontiguousarray(frame.samples().T))
            following, self._last = head.start + head.frames, head.sequence
        raise Ended("the session was closed")

    async def _steer(self, client: SafaClient, clock: Clock, rate: int, receiving: asyncio.Task[None]) -> None:
        """The loop of the module's drawing; returns where the plugin needs another session or another rate."""
        assert self._opened is not None
        granted = self._opened["position"] + self._opened["credit"]
        runs, stood, looked, meant = bool(self._opened["playing"]), -1, 0.0, dict[int, Command]()
        loop = asyncio.get_running_loop()
        while not self._anew:
            # A render that is to wait begins the session anew, so it is the same every time.
            self._anew = self._pacing != self._opened["pacing"]
            if receiving.done():
                await receiving
            status, orders = self._listen(stood)
            stood = status.read
            if status.rate != rate and status.active:
                return
            if runs != self._steering.runs:
                runs = not runs
                await client.send(Play() if runs else Pause())
                self._segment.tell(PLAYING, resting=not runs)
            for order in orders:
                await self._send(client, order, clock.command_at(order.index + status.latency), meant)
            wanted = clock.sample(status.read + status.lead)
            if clock.rate != clock.session_rate:
                wanted += round(RESAMPLER_SECONDS * clock.session_rate)
            if wanted - granted >= LEAST_GRANT and status.active:
                await client.send(Grant(samples=wanted - granted))
                granted = wanted
            if client.events and loop.time() - looked > LOOK_SECONDS:
                looked = loop.time()
                await self._look(client, meant)
            await asyncio.sleep(POLL_SECONDS)

    def _listen(self, stood: int = -1) -> tuple[PluginStatus, list[Order]]:
        """What the plugin says; stood: where it was the last time, for where it stands nothing more comes with it."""
        self._segment.beat()
        status = self._segment.plugin()
        self._recall()
        # The block that begins at `read` may be telling still.
        orders = self._steering.take(self._segment.events(), status.read + (status.read == stood))
        for note in self._steering.notes:
            log.info("%s: %s", self.name, note)
        self._steering.notes.clear()
        slots = self._file_slots(int(self._steering.values["number"]))
        if slots != self._slots_said and slots is not None and self._opened is not None:
            self._slots_said = slots
            self._steering.change_slots(slots, status.read)
        return status, orders

    def _take_over(self) -> None:
        """Where another bridge served this plugin before: go on with what it made of what the host had set."""
        told = self._segment.scene()
        if told is not None and self._segment.states_taken:
            with suppress(UsageError):
                self._project.take_over(told, self._segment.states() or {})

    def _recall(self) -> None:
        """What the host has set: a scene begins a session anew, prompts change the slots."""
        states = self._segment.states()
        if states is None:
            return
        try:
            anew, slots = self._project.recall(states)
        except UsageError as error:
            return self._say(str(error))
        self._anew |= anew
        if slots is not None:
            self._steering.change_slots(slots, self._segment.plugin().read)

    async def _send(self, client: SafaClient, order: Order, at: int, meant: dict[int, Command]) -> None:
        command = replace(order.command, at=at)
        try:
            meant[await client.send(command)] = command
        except Refused as error:
            self._say(f"{command.name}: {error}")

    async def _look(self, client: SafaClient, meant: dict[int, Command]) -> None:
        """What the session has become, by our commands and by others'; and which of ours came late."""
        events = list(client.events)
        client.events.clear()
        late = applied = 0
        for event in events:
            command = meant.pop(event.get("command", -1), None)
            if event["type"] == "refused" and command is not None:
                self._say(f"{command.name}: {event['reason']}")
            elif event["type"] == "applied":
                applied += 1
                late += command is not None and event["position"] >= (command.at or 0) + BLOCK
                if isinstance(command, Prompt):
                    self._project.ours = command.prompts
        if late:
            self._segment.tell(PLAYING, resting=not self._steering.runs, late=late)
        if not applied:
            return
        settled = not any(isinstance(command, Prompt) for command in meant.values())
        steering = self._steering
        held = self._project.look(await client.state(), steering.values, steering.slots, settled)
        steering.slots, steering.layers = held.slots, frozenset(layer.layer for layer in held.scene.layers)
        self._segment.tell_scene(held.as_json())

    async def _pause(self, seconds: float) -> None:
        """Wait, and listen on, so that what happens meanwhile is known when the server is back."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            self._listen()
            await asyncio.sleep(POLL_SECONDS)

    def _say(self, text: str) -> None:
        """Log it once, not with every try."""
        if text != self._said:
            self._said = text
            log.info("%s: %s", self.name, text)
