"""One WebSocket client from its first message to its last: what it asks is answered, what its session gives is sent."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from safa_server import control
from safa_server.encoding import encoding_of
from safa_server.fields import WireError
from safa_server.hub import Hub
from safa_server.listener import Listener
from safa_server.runner import AdmissionError
from safa_server.security import same
from safa_server.station import OpenRequest, Station
from safa_server.wire import Request, parse, read, request_id, write
from safa_stream.errors import FailureError, SafaError
from safa_stream.session.messages import Command

log = logging.getLogger("safa_server.websocket")

_NAMED_FIELD = re.compile(r"(?:\w+ )*field '([\w.\[\]]+)'")


class SocketOutlet:
    """A WebSocket as the fan-out sees it: what is sent is in the system's hands, or waits here within bounds."""

    def __init__(self, socket: ServerConnection, write_bytes: int) -> None:
        self._socket = socket
        self._write_bytes = write_bytes
        self._closing: asyncio.Task[None] | None = None

    def has_room(self) -> bool:
        """Has the system taken nearly all that was sent so far? Never so for a connection that is closed."""
        transport = self._socket.transport
        return not transport.is_closing() and transport.get_write_buffer_size() < self._write_bytes

    def send(self, message: str) -> None:
        """Send without waiting; nothing happens where the connection is closing."""
        broadcast([self._socket], message)

    def send_packet(self, packet: bytes) -> None:
        """Write a WebSocket message as it is; nothing happens where the connection is closing."""
        # The library would frame and copy every frame for every listener. Nothing here sends fragments or compresses,
        # and the library hands what it writes to the transport at once, so whole messages keep their order.
        if self._socket.state is State.OPEN:
            self._socket.transport.write(packet)

    def cut(self, reason: str, code: int = 1013) -> None:
        """Say why, and close."""
        if self._closing is None:
            self.send(write(control.Closing(reason=reason)))
            self._closing = asyncio.get_running_loop().create_task(self._socket.close(code, reason[:120]))


class Pace:
    """So many messages a second, and twice as many in a burst; who sends more waits. Its client notices by itself."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = 2 * per_second
        self._at = time.monotonic()

    async def wait(self) -> bool:
        """Wait for the turn of one message; true where it had to wait."""
        now = time.monotonic()
        self._left = min(2 * self._per_second, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        if self._left >= 0:
            return False
        await asyncio.sleep(-self._left / self._per_second)
        return True


class Connection:
    """See the module. `permitted`: the handshake carried the server's token, or none is needed."""

    def __init__(self, socket: ServerConnection, hub: Hub, permitted: bool) -> None:
        self._socket = socket
        self._hub = hub
        self._permitted = permitted
        self._outlet = SocketOutlet(socket, hub.limits.write_bytes)
        self._pace = Pace(hub.limits.messages_per_second)
        self._station: Station | None = None
        self._listener: Listener | None = None
        self._done = False

    async def run(self) -> None:
        """Serve the client until it goes."""
        patience = self._hub.limits.first_message_seconds
        try:
            async with asyncio.timeout(patience) as deadline:
                async for message in self._socket:
                    self._hub.metrics.add("safa_messages_total")
                    if await self._pace.wait():
                        self._hub.metrics.add("safa_messages_delayed_total")
                    await self._take(message)
                    if self._station is not None:
                        deadline.reschedule(None)
                    if self._done:
                        await self._socket.close()
                        return
        except TimeoutError:
            await self._socket.close(1008, f"say open or join within {patience:g} s")
        except ConnectionClosed as closed:
            log.info("connection lost: %s", closed)
        finally:
            if self._station is not None and self._listener is not None:
                self._hub.leave(self._station, self._listener)

    async def _take(self, message: str | bytes) -> None:
        number: int | None = None
        try:
            if isinstance(message, bytes):
                raise WireError("bad_message", "binary messages mean nothing here; commands are JSON texts")
            found = parse(message)
            number = request_id(found)
            await self._carry_out(read(found))
        except SafaError as error:
            refused = _refusal(error)
            self._hub.metrics.add("safa_messages_refused_total", code=refused.code)
            await self._socket.send(write(refused, number))
            if refused.code == "token":
                await self._socket.close(1008, refused.reason[:120])

    async def _carry_out(self, request: Request) -> None:
        body = request.body
        if not self._permitted and not isinstance(body, control.Open | control.Join):
            raise WireError("token", "a token is needed: say open or join with it first", "token")
        match body:
            case control.Open():
                await self._open(body, request.id)
            case control.Join():
                await self._join(body, request.id)
            case control.Ping():
                position = 0 if self._station is None else self._station.position
                pong = control.Pong(
                    client_clock=body.client_clock, server_clock_ns=time.monotonic_ns(), position=position
                )
                await self._socket.send(write(pong, request.id))
            case _:
                await self._in_session(request, *self._present())

    async def _in_session(self, request: Request, station: Station, listener: Listener) -> None:
        body, command = request.body, None
        if isinstance(body, Command | control.Grant | control.Play | control.Pause) and not listener.control:
            raise WireError("not_allowed", "this connection listens only; join with control and the session's token")
        match body:
            case control.GetState():
                state = {**station.state(), "listeners": self._hub.listeners(station)}
                return await self._socket.send(write(control.StateIs(state=state), request.id))
            case control.GetProvenance():
                made = control.ProvenanceIs(number=body.number, provenance=station.provenance(body.number))
                return await self._socket.send(write(made, request.id))
            case Command():
                command = station.submit(body)
                self._hub.metrics.add("safa_commands_total", command=body.name)
            case control.Ack():
                listener.acknowledged = body.sequence
            case control.Playhead():
                listener.playhead = body.position
            case control.Grant():
                self._hub.fanout(station).grant(listener, body.samples)
            case control.Play():
                station.play()
            case control.Pause():
                station.pause()
            case control.Close():
                self._done = True
        if request.id is not None:
            await self._socket.send(write(control.Done(command=command), request.id))
        if self._done and listener.control:
            self._hub.end(station, "the session was closed by a client")

    async def _open(self, body: control.Open, number: int | None) -> None:
        self._check_permitted(body.token, None)
        self._check_free()
        request = OpenRequest(scene=body.scene, pacing=body.pacing, lead_seconds=body.lead, name=body.name)
        station = await self._hub.open(request)
        if not body.play:
            station.pause()
        try:
            self._attach(station, body, True, None, number)
        except SafaError:
            self._hub.end(station, "it could not be heard")
            raise

    async def _join(self, body: control.Join, number: int | None) -> None:
        station = self._hub.stations.find(body.session)
        self._check_permitted(body.token, station)
        self._check_free()
        if station is None:
            raise WireError("no_session", f"there is no session {body.session!r} (any more)", "session")
        if body.control and not same(body.token, station.token):
            raise WireError("not_allowed", "to control a session, join with the session's token", "token")
        self._attach(station, body, body.control, body.from_, number)
        if body.from_ is not None:
            self._hub.metrics.add("safa_resumed_total")

    def _attach(
        self, station: Station, body: control.Open | control.Join, steers: bool, after: int | None, number: int | None
    ) -> None:
        """Answer and begin to listen in one step of the event loop, so that nothing is missed or comes too early."""
        encoding = encoding_of(body.format, body.rate, body.channels, station.rate, station.channels)
        fanout = self._hub.fanout(station)
        listener = fanout.attach(self._outlet, encoding, steers, after)
        opened = control.Opened(
            session=station.id,
            token=station.token if steers else None,
            pacing="pull" if station.pacing == "pull" else "live",
            format=body.format,
            rate=encoding.rate,
            channels=encoding.channels,
            session_rate=station.rate,
            position=station.position,
            playing=station.playing,
            control=steers,
            resume_seconds=self._hub.limits.resume_seconds,
            credit=fanout.credit,
            resumed_from=None if after is None else listener.first,
            state=station.state(),
        )
        self._station, self._listener, self._permitted = station, listener, True
        self._outlet.send(write(opened, number))
        fanout.pump()

    def _check_permitted(self, given: str | None, station: Station | None) -> None:
        known = self._hub.security.permits(given) or (station is not None and same(given, station.token))
        if not self._permitted and not known:
            raise WireError("token", "the token is missing or wrong", "token")

    def _check_free(self) -> None:
        if self._station is not None:
            raise WireError("already_open", "this connection has a session already; use another connection")

    def _present(self) -> tuple[Station, Listener]:
        if self._station is None or self._listener is None:
            raise WireError("not_open", "this connection has no session yet: say open or join first")
        return self._station, self._listener


def _refusal(error: SafaError) -> control.Error:
    """An error as the client is told of it."""
    reason = " ".join(str(error).split())
    if isinstance(error, WireError):
        return control.Error(code=error.code, reason=reason, field=error.field)
    if isinstance(error, AdmissionError):
        return control.Error(code="admission", reason=reason, retry_after=error.retry_after)
    named: Any = _NAMED_FIELD.match(reason)
    code: control.Code = "failed" if isinstance(error, FailureError) else "refused"
    return control.Error(code=code, reason=reason, field=named[1] if named else None)
