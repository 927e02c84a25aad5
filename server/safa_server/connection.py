"""One WebSocket client from its first message to its last: what it asks is answered, what its session gives is sent."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from safa_server import control
from safa_server.encoding import encoding_of
from safa_server.fields import WireError
from safa_server.hub import Hub
from safa_server.listener import Listener
from safa_server.outlet import Pace, SocketOutlet
from safa_server.principal import Access, Principal
from safa_server.requests import OpenRequest
from safa_server.runner import AdmissionError
from safa_server.station import Station
from safa_server.telemetry.observer import Origin
from safa_server.telemetry.traceparent import Traceparent
from safa_server.tenants.quotas import QuotaError
from safa_server.wire import Request, parse, read, request_id, write
from safa_stream.errors import FailureError, SafaError
from safa_stream.session.messages import Command, Mix

log = logging.getLogger("safa_server.websocket")

#: A `mix` without a time counts so much of a message: those that come between two blocks become one a layer.
LIGHT = 0.2
#: What changes a session for all who hear it.
_STEERING = Command | control.Grant | control.Play | control.Pause

#: What a client is told of a session's pacing; one that a sound device drives is live to all who listen.
_PACINGS: dict[str, control.Pacing] = {"pull": "pull", "host": "host"}

_NAMED_FIELD = re.compile(r"(?:\w+ )*field '([\w.\[\]]+)'")


class Connection:
    """See the module. who: who the token of the handshake says it is; the operator where none is needed."""

    def __init__(self, socket: ServerConnection, hub: Hub, who: Principal) -> None:
        self._socket = socket
        self._hub = hub
        self._who = who
        #: What this connection may do: more than its principal where it showed the session's own token.
        self._access = who.access
        #: For messages that have none of their own.
        self._trace = (
            None if socket.request is None else Traceparent.read(socket.request.headers.get("traceparent", ""))
        )
        self._outlet = SocketOutlet(socket, hub.limits.write_bytes)
        self._pace = Pace(hub.limits.messages_per_second)
        self._station: Station | None = None
        self._listener: Listener | None = None
        self._done = False

    async def run(self) -> None:
        """Serve the client until it goes."""
        patience = self._hub.limits.first_message_seconds
        self._known_as(self._who)
        try:
            async with asyncio.timeout(patience) as deadline:
                async for message in self._socket:
                    self._hub.metrics.add("safa_messages_total")
                    if await self._pace.wait():
                        self._hub.metrics.add("safa_messages_delayed_total")
                    if await self._take(message):
                        self._pace.give_back(1 - LIGHT)
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
            self._hub.guests.leave(self)
            if self._station is not None and self._listener is not None:
                self._hub.leave(self._station, self._listener)

    async def _take(self, message: str | bytes) -> bool:
        """Do what a message says; whether it was one of those that may come at every picture of a game."""
        number: int | None = None
        received = time.monotonic_ns()
        try:
            if isinstance(message, bytes):
                raise WireError("bad_message", "binary messages mean nothing here; commands are JSON texts")
            found = parse(message)
            number = request_id(found)
            request = read(found)
            await self._carry_out(request, Origin("websocket", received, request.trace or self._trace))
            return isinstance(request.body, Mix) and request.body.at is None
        except SafaError as error:
            refused = refusal(error)
            self._hub.metrics.add("safa_messages_refused_total", code=refused.code)
            if isinstance(error, QuotaError):
                self._hub.metrics.add("safa_tenant_refused_total", tenant=error.tenant, quota=error.quota)
            await self._socket.send(write(refused, number))
            if refused.code == "token":
                await self._socket.close(1008, refused.reason[:120])
            return False

    async def _carry_out(self, request: Request, origin: Origin) -> None:
        body = request.body
        if self._access is Access.NONE and not isinstance(body, control.Open | control.Join):
            raise WireError("token", "a token is needed: say open or join with it first", "token")
        if self._access is Access.LISTEN and isinstance(body, _STEERING):
            raise _listen_only(f"{request.kind} is for who may steer the session")
        match body:
            case control.Open():
                await self._open(body, request.id, origin)
            case control.Join():
                await self._join(body, request.id)
            case control.Ping():
                position = 0 if self._station is None else self._station.position
                pong = control.Pong(
                    client_clock=body.client_clock, server_clock_ns=time.monotonic_ns(), position=position
                )
                await self._socket.send(write(pong, request.id))
            case _:
                await self._in_session(request, origin, *self._present())

    async def _in_session(self, request: Request, origin: Origin, station: Station, listener: Listener) -> None:
        body, command = request.body, None
        if isinstance(body, _STEERING) and not listener.control:
            raise WireError("not_allowed", "this connection listens only; join with control and the session's token")
        match body:
            case control.GetState():
                state = {**station.state(), "listeners": self._hub.listeners(station)}
                return await self._socket.send(write(control.StateIs(state=state), request.id))
            case control.GetProvenance():
                made = control.ProvenanceIs(number=body.number, provenance=station.provenance(body.number))
                return await self._socket.send(write(made, request.id))
            case Command():
                command = station.submit(body, request.once, origin)
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
                if listener.control:
                    # Its answer says that this has been done.
                    station.close()
        if request.id is not None:
            await self._socket.send(write(control.Done(command=command), request.id))
        if self._done and listener.control:
            self._hub.end(station, "the session was closed by a client")

    async def _open(self, body: control.Open, number: int | None, origin: Origin) -> None:
        who = self._identified(body.token)
        access = self._at_least_listens(who, owns=False)
        if access is Access.LISTEN:
            raise _listen_only("it opens no session; join one", "token")
        self._check_free()
        request = OpenRequest(
            body.scene, body.pacing, body.lead, body.name, body.channels, body.ahead, tenant=who.tenant
        )
        station = await self._hub.open(request)
        station.observer.opened(station.live, origin)
        if not body.play:
            station.pause()
        try:
            self._attach(station, body, who, access, station.token, None, number)
        except SafaError:
            self._hub.end(station, "it could not be heard")
            raise

    async def _join(self, body: control.Join, number: int | None) -> None:
        who, station = self._identified(body.token, body.key), self._hub.stations.find(body.session)
        owns = station is not None and station.secret.opens(body.token)
        if station is None or not who.may_join(station.tenant, owns):
            # One that may not be known of is answered like one that never was.
            station, owns = None, False
        access = self._at_least_listens(who, owns)
        self._check_free()
        if station is None:
            raise WireError("no_session", f"there is no session {body.session!r} (any more)", "session")
        if body.control and not owns:
            if access is Access.LISTEN:
                raise _listen_only("to control a session, join with the session's token", "token")
            raise WireError("not_allowed", "to control a session, join with the session's token", "token")
        self._attach(station, body, who, access, body.token if body.control else None, body.from_, number)
        if body.from_ is not None:
            self._hub.metrics.add("safa_resumed_total")

    def _attach(
        self,
        station: Station,
        body: control.Open | control.Join,
        who: Principal,
        access: Access,
        token: str | None,
        after: int | None,
        number: int | None,
    ) -> None:
        """Answer and begin to listen in one step of the event loop, so that nothing is missed or comes too early.

        token: the session's, of a client that steers it.
        """
        steers = token is not None
        self._hub.check_listener(station)
        encoding = encoding_of(
            body.format, body.rate, body.channels, station.rate, station.channels, body.layer, body.header
        )
        if body.layer is not None and after is None:
            station.check_layer(body.layer)
        fanout = self._hub.fanout(station)
        listener = fanout.attach(self._outlet, encoding, steers, after)
        opened = control.Opened(
            session=station.id,
            token=token,
            pacing=_PACINGS.get(station.pacing, "live"),
            format=body.format,
            rate=encoding.rate,
            channels=encoding.channels,
            layer=encoding.layer,
            header=encoding.header,
            session_rate=station.rate,
            position=station.position,
            playing=station.playing,
            control=steers,
            guarded=self._hub.security.token is not None,
            listen_token=self._hub.security.listen_token if station.tenant is None else None,
            resume_seconds=self._hub.limits.resume_seconds,
            credit=fanout.credit,
            resumed_from=None if after is None else listener.first,
            state=station.state(),
        )
        self._station, self._listener, self._access = station, listener, access
        self._known_as(who)
        self._outlet.send(write(opened, number))
        fanout.pump()

    def _identified(self, *given: str | None) -> Principal:
        """Who this client is by the handshake and what else it gave: the one that may do most."""
        known = [self._who, *(self._hub.security.who(token) for token in given if token)]
        best = max(known, key=lambda who: who.access)
        return best if best.access is not Access.NONE else known[-1]

    def _at_least_listens(self, who: Principal, owns: bool) -> Access:
        """What this client may do; `owns`: it gave the session's own token. Raises WireError where that is nothing."""
        access = max(self._access, who.access, Access.ALL if owns else Access.NONE)
        if access is Access.NONE:
            raise WireError("token", who.refusal, "token")
        return access

    def _known_as(self, who: Principal) -> None:
        """From now on the client is here by this right, and goes when it ends."""
        self._who = who
        self._hub.guests.enter(self, who, lambda reason: self._outlet.cut(reason, 1008))

    def _check_free(self) -> None:
        if self._station is not None:
            raise WireError("already_open", "this connection has a session already; use another connection")

    def _present(self) -> tuple[Station, Listener]:
        if self._station is None or self._listener is None:
            raise WireError("not_open", "this connection has no session yet: say open or join first")
        return self._station, self._listener


def _listen_only(reason: str, field: str | None = None) -> WireError:
    return WireError("listen_only", f"this token only listens: {reason}", field)


def refusal(error: SafaError) -> control.Error:
    """An error as the client is told of it."""
    reason = " ".join(str(error).split())
    if isinstance(error, WireError):
        return control.Error(code=error.code, reason=reason, field=error.field)
    if isinstance(error, AdmissionError | QuotaError):
        refused: control.Code = "quota" if isinstance(error, QuotaError) else "admission"
        return control.Error(code=refused, reason=reason, retry_after=error.retry_after)
    named: Any = _NAMED_FIELD.match(reason)
    code: control.Code = "failed" if isinstance(error, FailureError) else "refused"
    return control.Error(code=code, reason=reason, field=named[1] if named else None)
