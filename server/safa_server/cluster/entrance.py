"""A client of a front end until it has a session: who it is, what it may open, and where that is to be found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from websockets.asyncio.client import ClientConnection

from safa_server import control
from safa_server.cluster.desk import Client, Desk
from safa_server.cluster.dialling import Refused, dial
from safa_server.cluster.ports import Route
from safa_server.connection import refusal
from safa_server.fields import WireError
from safa_server.principal import Access, Principal
from safa_server.tenants.quotas import QuotaError
from safa_server.wire import Request, parse, read, request_id, write
from safa_stream.errors import FailureError, SafaError
from safa_stream.session.livescene import LiveScene

#: Engines that are tried for a new session.
TRIES = 3
#: Between two tries to join a session, seconds.
RETRY = 0.1


@dataclass(frozen=True, slots=True)
class Entered:
    """A client's session: its engine and the connection to that, what joins it again, and what the client is told."""

    route: Route
    engine: ClientConnection
    join: control.Join
    answer: dict[str, Any]
    number: int | None


class Entrance:
    """See the module. who: who the handshake's token says the client is; known_as: is told whenever it turns out to be
    somebody who may do more."""

    def __init__(self, client: Client, desk: Desk, who: Principal, known_as: Callable[[Principal], None]) -> None:
        self._client, self._desk, self.who, self._known_as = client, desk, who, known_as

    async def enter(self, messages: AsyncIterator[str | bytes]) -> Entered | None:
        """Answer until a session is opened or joined; None where the client went, or had to go."""
        async for message in messages:
            number = None
            try:
                if isinstance(message, bytes):
                    raise WireError("bad_message", "binary messages mean nothing here; commands are JSON texts")
                found = parse(message)
                number = request_id(found)
                return await self._first(read(found))
            except SafaError as error:
                await self._refuse(error.answer if isinstance(error, Refused) else refusal(error), number)
                if isinstance(error, WireError) and error.code == "token":
                    await self._client.close(1008, str(error)[:120])
                    return None
        return None

    async def _first(self, request: Request) -> Entered:
        """Carry out `open` or `join`. Raises SafaError where it is refused."""
        body = request.body
        if isinstance(body, control.Open):
            who = self._identified(body.token)
            if who.access is Access.NONE:
                raise WireError("token", who.refusal, "token")
            return await self._open(body, who, request.id)
        if isinstance(body, control.Join):
            # A session's own token is for its engine to look at.
            who = self._identified(body.token, body.key)
            if who.access is Access.NONE and body.token is None:
                raise WireError("token", who.refusal, "token")
            return await self._join(body, who, request.id)
        raise WireError("not_open", "this connection has no session yet: say open or join first")

    async def _join(self, body: control.Join, who: Principal, number: int | None) -> Entered:
        switchboard, left = self._desk.switchboard, self._desk.limits.resume_seconds
        end = time.monotonic() + left
        route = await switchboard.where(body.session, left)
        while route is not None:
            try:
                engine, answer = await dial(route, replace(body, key=None), self._desk.pass_of(who))
            except Refused as error:
                if error.answer.code != "token":
                    raise
                # In the words of a session that is nowhere: whose it is concerns nobody else.
                raise WireError("token", who.refusal, "token") from None
            except FailureError:
                # An engine that is lost just now: the session will be another's.
                left = end - time.monotonic()
                if left <= 0:
                    raise
                await asyncio.sleep(RETRY)
                route = await switchboard.broken(body.session, route.engine, route.epoch, left)
                continue
            return Entered(route, engine, body, answer, number)
        if who.access is Access.NONE:
            raise WireError("token", who.refusal, "token")
        raise WireError("no_session", f"there is no session {body.session!r} (any more)", "session")

    async def _open(self, body: control.Open, who: Principal, number: int | None) -> Entered:
        if who.access is not Access.ALL:
            raise WireError("listen_only", "this token only listens: it opens no session; join one", "token")
        asked = Asked.of(body)
        await self._check_quotas(asked.layers, who.tenant)
        tried: list[str] = []
        while True:
            route = await self._desk.switchboard.place(asked.rows, asked.model, tried)
            if route is None:
                self._desk.metrics.add("safa_sessions_refused_total", reason="admission")
                raise Refused(
                    control.Error(
                        code="admission",
                        reason="no engine of this cluster has room for another session",
                        retry_after=10.0,
                    )
                )
            try:
                engine, answer = await dial(route, replace(body, token=None), self._desk.pass_of(who))
            except FailureError as error:
                tried.append(route.engine)
                decided = isinstance(error, Refused) and error.answer.code != "admission"
                if decided or len(tried) >= TRIES:
                    raise
                continue
            join = control.Join(session=answer["session"], token=answer["token"], control=True)
            return Entered(route, engine, join, answer, number)

    async def _check_quotas(self, layers: int, tenant: str | None) -> None:
        """Raises QuotaError where the tenant has as much on all engines as it may have."""
        quotas = None if tenant is None else self._desk.quotas(tenant)
        if tenant is None or quotas is None:
            return
        denied = await self._desk.switchboard.may_open(tenant, quotas, layers)
        if denied is not None:
            self._desk.metrics.add("safa_sessions_refused_total", reason="quota")
            self._desk.metrics.add("safa_tenant_refused_total", tenant=tenant, quota=denied.quota)
            raise QuotaError(tenant, denied.quota, denied.reason, denied.retry_after)

    def _identified(self, *given: str | None) -> Principal:
        """Who the client is by the handshake and what else it gave: the one that may do most."""
        known = [self.who, *(self._desk.security.who(token) for token in given if token)]
        best = max(known, key=lambda who: who.access)
        best = best if best.access is not Access.NONE else known[-1]
        self.who = best
        self._known_as(best)
        return best

    async def _refuse(self, refused: control.Error, number: int | None) -> None:
        self._desk.metrics.add("safa_messages_refused_total", code=refused.code)
        await self._client.send(write(refused, number))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a session will need. rows: layers, each as often as it has pairs of channels. model: None for any."""

    layers: int
    rows: int
    model: str | None

    @classmethod
    def of(cls, body: control.Open) -> Asked:
        """Read from the scene; of one that cannot be read the engine will say what is wrong with it."""
        named = body.scene.get("model") if isinstance(body.scene, Mapping) else None
        model = named if isinstance(named, str) else None
        try:
            scene = LiveScene.from_value(body.scene)
        except SafaError:
            return cls(1, 1, model)
        layers = len(scene.layers)
        return cls(layers, layers * max(1, -(-max(scene.channels, body.channels or 0) // 2)), model)
