"""Tenants at a cluster's front end: the same rights as at a single server, with a real engine behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from safa_server.cluster.engine import Engine, EngineSettings
from safa_server.cluster.front import front_end
from safa_server.cluster.passes import EngineSecurity, pass_for
from safa_server.cluster.ports import Route
from safa_server.limits import Limits
from safa_server.principal import NOBODY, OPERATOR, Access, Principal
from safa_server.tenants.book import Revocation
from safa_server.tenants.book_file import revoke
from safa_server.tenants.quotas import Denied, Quotas
from tests.server.tenants_rig import OPERATOR as OPERATORS_TOKEN
from tests.server.tenants_rig import Tenancy, bearer
from tests.server.ws_rig import Raw, quiet_log, run

SECRET, NEVER_WAS = "the.clusters.own-secret", "AAAAAAAAAAAA"


class OneEngine:
    """Who knows where sessions are, in a cluster of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def place(self, rows: int, model: str | None, without: Collection[str] = ()) -> Route | None:
        return Route("e", self._engine.url, 1)

    async def where(self, session: str, seconds: float = 0.0) -> Route | None:
        return Route("e", self._engine.url, 1) if session in self._engine.facts().sessions else None

    async def may_open(self, tenant: str, quotas: Quotas, layers: int) -> Denied | None:
        sessions = [facts for facts in self._engine.facts().sessions.values() if facts.tenant == tenant]
        return Denied("sessions", "too many", 1.0) if len(sessions) >= quotas.sessions else None

    async def broken(self, session: str, engine: str, epoch: int, seconds: float) -> Route | None:
        return await self.where(session)

    async def status(self) -> dict[str, Any]:
        return {"engines": {"e": {"url": self._engine.url}}}


@asynccontextmanager
async def cluster(tenancy: Tenancy, folder: Path) -> AsyncIterator[int]:
    engine = Engine(EngineSettings("e", "127.0.0.1", SECRET, folder / "state", layers=8))
    await engine.start()
    try:
        head = OneEngine(engine)
        async with front_end("127.0.0.1", 0, head, SECRET, tenancy.security, Limits(), "front") as port:
            yield port
    finally:
        await engine.stop()


@asynccontextmanager
async def client(port: int, **options: Any) -> AsyncIterator[Raw]:
    async with connect(f"ws://127.0.0.1:{port}/ws", max_queue=None, proxy=None, **options) as socket:
        yield Raw(socket)


async def fetched(port: int, path: str, token: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    answer = (await reader.read()).decode(errors="replace")
    writer.close()
    await writer.wait_closed()
    return int(answer.split(" ")[1]), answer.partition("\r\n\r\n")[2]


@pytest.mark.parametrize("who", [OPERATOR, NOBODY, Principal(Access.LISTEN), Principal(Access.ALL, "a-1")])
def test_a_pass_says_who_the_client_is_and_nobody_else_can_write_one(who: Principal) -> None:
    security = EngineSecurity(token=SECRET)
    given = pass_for(SECRET, who)
    assert security.who(given) == Principal(who.access, who.tenant) and security.knows(given)
    for wrong in (None, "", SECRET, given[1:], given + "x.y", pass_for("another.secret", who), f"{SECRET}.root."):
        assert security.who(wrong) == NOBODY and not security.knows(wrong)


def test_a_front_end_keeps_tenants_apart_and_cuts_who_may_not_stay(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path, sessions=1)
    token, id = tenancy.issued("a")

    async def test() -> None:
        async with cluster(tenancy, tmp_path) as port, client(port, **bearer(token)) as owner:
            opened = await owner.ask("open", scene="rain", lead=2.0)
            assert opened["type"] == "opened" and opened["listen_token"] is None
            session, secret = opened["session"], opened["token"]

            async def answers(id: str, options: dict[str, Any], **given: Any) -> Any:
                told = []
                for control in (False, True):
                    for shown in (None, secret):
                        async with client(port, **options) as one:
                            told.append(await one.ask("join", session=id, token=shown, control=control, **given))
                if "additional_headers" in options:
                    token = options["additional_headers"]["Authorization"].removeprefix("Bearer ")
                    told.append(await fetched(port, f"/sessions/{id}/loops/x.wav", token))
                told.append(await fetched(port, f"/sessions/{id}/loops/x.wav", secret))
                return json.loads(json.dumps(told).replace(id, "ID"))

            for options in (bearer(tenancy.token("b")), bearer(tenancy.token("b", "listen")), {}):
                assert await answers(session, options) == await answers(NEVER_WAS, options)
            key = tenancy.token("b")
            assert await answers(session, {}, key=key) == await answers(NEVER_WAS, {}, key=key)
            async with client(port, **bearer(tenancy.token("a"))) as one:
                refused = await one.ask("open", scene="rain")
                assert refused["code"] == "quota" and "quota 'sessions'" in refused["reason"]
            assert (await fetched(port, "/metrics", tenancy.token("a")))[0] == 403
            assert (await fetched(port, "/metrics", OPERATORS_TOKEN))[0] == 200
            async with client(port, **bearer(tenancy.token("a", "listen"))) as guest:
                assert (await guest.ask("join", session=session))["type"] == "opened"
                await owner.hear(10)
                revoke(tenancy.path, Revocation(id=id))
                with pytest.raises(ConnectionClosed):
                    while True:
                        await owner.read()
                assert owner.socket.close_code == 1008 and owner.texts[-1]["reason"] == "the token was revoked"
                await guest.hear(len(guest.frames) + 5)
            after = owner.frames[-1][0].sequence
            async with client(port) as back:
                where = {"session": session, "token": secret, "key": tenancy.token("a"), "from": after}
                assert (await back.ask("join", control=True, **where))["control"]
                await back.hear(5)
                assert back.frames[0][0].sequence == after + 1

    with quiet_log():
        run(test())
