"""Tenants over real sockets: what one has, another can neither find nor hear; who may not stay is sent away."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from safa_server.client import SafaClient
from safa_server.hub import SWEEP_SECONDS
from safa_server.principal import Access, Principal
from safa_server.tenants.book import Revocation
from safa_server.tenants.book_file import revoke
from safa_server.tenants.keys import new_key
from safa_server.websocket import Route
from safa_stream.errors import FailureError
from tests.server.tenants_rig import LISTEN, OPERATOR, Tenancy, bearer
from tests.server.test_http import fetch
from tests.server.ws_rig import BLOCK, Raw, Rig, client, eventually, quiet_log, run, serving

NEVER_WAS = "AAAAAAAAAAAA"


@asynccontextmanager
async def opened_by_a(tenancy: Tenancy, **options: Any) -> AsyncIterator[tuple[Rig, Raw, dict[str, Any]]]:
    """A server with tenants, tenant a's client there, and what it was answered."""
    async with serving(security=tenancy.security, **options) as rig, client(rig, **bearer(tenancy.token("a"))) as owner:
        yield rig, owner, await owner.ask("open", scene="low", pacing="pull", name="a's own")


async def status(rig: Rig, **options: Any) -> int:
    """How a WebSocket is answered; 101 where it can be."""
    try:
        async with client(rig, **options):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def swept(rig: Rig) -> None:
    """What the server does twice a second, done now."""
    assert rig.hub.security.tenants is not None
    rig.hub.security.tenants.look()
    rig.hub.sweep()


async def closing(one: Raw) -> tuple[str, int | None]:
    """With which words and code the server ends a connection."""
    with pytest.raises(ConnectionClosed):
        while True:
            await one.read()
    return next(text["reason"] for text in reversed(one.texts) if text["type"] == "closing"), one.socket.close_code


def test_another_tenants_session_is_one_that_never_was(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)

    async def test() -> None:
        async with opened_by_a(tenancy) as (rig, owner, opened):
            await owner.ask("grant", samples=450 * BLOCK)
            await owner.hear(430)
            await owner.ask("loop.capture", seconds=8)
            loop = (await owner.until(lambda text: text["type"] == "loop.ready"))["loop"]
            secret, session = opened["token"], opened["session"]
            assert opened["listen_token"] is None, "the operator's secrets are no tenant's"

            async def answers(id: str, options: dict[str, Any], **given: Any) -> list[Any]:
                """All that somebody is told of a session by every way to ask, without its id."""
                told: list[Any] = []
                for control in (False, True):
                    for token in (None, secret, "wrong"):
                        async with client(rig, **options) as one:
                            asked = dict(session=id, token=token, control=control, **given)
                            told.append(await one.ask("join", **asked))
                            told.append(await one.ask("join", **asked, **{"from": 3}) if told[-1]["id"] is None else 0)
                for name in (loop, "x"):
                    head = options.get("additional_headers", {})
                    code, headers, body = await fetch(rig, f"/sessions/{id}/loops/{name}.wav", headers=head)
                    told.append([code, {**headers, "date": ""}, body.decode()])
                    code, headers, body = await fetch(rig, f"/sessions/{id}/loops/{name}.wav?token={secret}")
                    told.append([code, {**headers, "date": ""}, body.decode()])
                return json.loads(json.dumps(told).replace(id, "ID"))

            others = (
                bearer(tenancy.token("b")),
                bearer(tenancy.token("b", "listen")),
                bearer(LISTEN),
                {},  # only the session's own token
            )
            for options in others:
                assert await answers(session, options) == await answers(NEVER_WAS, options)
            # The same where the tenant's token comes with the message.
            key = tenancy.token("b")
            assert await answers(session, {}, key=key) == await answers(NEVER_WAS, {}, key=key)
            async with client(rig, **bearer(tenancy.token("b"))) as one:
                refused = await one.ask("join", session=session, token=secret, control=True)
                assert (refused["code"], refused["field"]) == ("no_session", "session")
            # Whose it is, and the operator, are told.
            for options in (bearer(tenancy.token("a", "listen")), bearer(OPERATOR)):
                async with client(rig, **options) as one:
                    joined = await one.ask("join", session=session)
                    assert joined["type"] == "opened" and not joined["control"] and joined["token"] is None
                    joined = await fetch(
                        rig, f"/sessions/{session}/loops/{loop}.wav", "GET", options["additional_headers"]
                    )
                    assert joined[0] == 200
            async with client(rig) as one:
                steering = await one.ask("join", session=session, token=secret, key=tenancy.token("a"), control=True)
                assert steering["control"] and (await one.ask("mix", layer=0, gain=-3))["type"] == "done"

    with quiet_log():
        run(test())


def test_what_is_the_operators_is_no_tenants(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)

    async def test() -> None:
        async with (
            opened_by_a(tenancy, osc=lambda form: "{}") as (rig, _, opened),
            client(rig, **bearer(OPERATOR)) as us,
        ):
            ours = await us.ask("open", scene="low", pacing="pull")
            swept(rig)
            for path, codes in (
                ("/metrics", (403, 403, 200)),
                ("/osc", (403, 403, 200)),
                ("/protocol.json", (200,) * 3),
            ):
                for token, code in zip(
                    (tenancy.token("a"), tenancy.token("a", "listen"), OPERATOR), codes, strict=True
                ):
                    assert (await fetch(rig, f"{path}?token={token}"))[0] == code, path
            metrics = (await fetch(rig, f"/metrics?token={OPERATOR}"))[2].decode()
            assert 'safa_tenant_sessions{tenant="a"} 1.0' in metrics and opened["token"] not in metrics
            assert json.loads((await fetch(rig, "/readyz"))[2]) == {"ready": True}
            async with client(rig, **bearer(tenancy.token("b"))) as one:
                refused = await one.ask("join", session=ours["session"])
                assert refused["code"] == "no_session"
            # Whose links the operator gives away are heard as ever.
            async with client(rig) as one:
                assert (await one.ask("join", session=ours["session"], token=ours["token"]))["type"] == "opened"
            # OSC and the server's own doors see the operator's sessions and no others.
            seen = rig.stations.seen_by(Principal(Access.LISTEN))
            assert [station.id for station in seen.all()] == [ours["session"]] and seen.find(opened["session"]) is None

    with quiet_log():
        run(test())


def test_the_listen_scope_hears_and_steers_nothing(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)

    async def test() -> None:
        async with (
            opened_by_a(tenancy) as (rig, _, opened),
            client(rig, **bearer(tenancy.token("a", "listen"))) as guest,
        ):
            assert (await guest.ask("open", scene="low"))["code"] == "listen_only"
            assert (await guest.ask("join", session=opened["session"], control=True))["code"] == "listen_only"
            assert (await guest.ask("join", session=opened["session"]))["type"] == "opened"
            assert (await guest.ask("mix", layer=0, gain=-3))["code"] == "listen_only"

    with quiet_log():
        run(test())


def test_a_revoked_token_ends_its_connections_and_the_session_waits(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)
    token, id = tenancy.issued("a")

    async def test() -> None:
        async with serving(security=tenancy.security) as rig, client(rig) as kept, client(rig, **bearer(token)) as lost:
            # One by the handshake, one by the first message.
            opened = await lost.ask("open", scene="low")
            assert (await kept.ask("join", session=opened["session"], key=tenancy.token("a")))["type"] == "opened"
            await lost.hear(20)
            began = time.monotonic()
            revoke(tenancy.path, Revocation(id=id))
            reason, code = await closing(lost)
            assert (reason, code) == ("the token was revoked", 1008)
            # The server looks that often; the rest is this machine's.
            assert time.monotonic() - began < SWEEP_SECONDS + 1.0
            assert await status(rig, **bearer(token)) == 401
            assert (await fetch(rig, f"/protocol.json?token={token}"))[2].startswith(
                b"401 Unauthorized: the token was revoked"
            )
            assert rig.metrics.value("safa_connections_cut_total") == 1
            # Its other listeners notice nothing, and with a new token it goes on where it was.
            after = lost.frames[-1][0].sequence
            async with client(rig, **bearer(tenancy.token("a"))) as back:
                joined = await back.ask(
                    "join", session=opened["session"], token=opened["token"], control=True, **{"from": after}
                )
                assert joined["resumed_from"] == after + 1 and joined["control"]
                await back.hear(20)
                await kept.hear(20)
                theirs = {head.sequence: payload for head, payload, _ in kept.frames}
                for head, payload, _ in back.frames:
                    assert theirs.get(head.sequence, payload) == payload

    with quiet_log():
        run(test())


@pytest.mark.parametrize("how", ["expired", "issued before", "the key is gone", "the tenant is gone"])
def test_every_way_in_which_a_right_ends(tmp_path: Path, how: str) -> None:
    tenancy = Tenancy(tmp_path)

    async def test() -> None:
        async with opened_by_a(tenancy) as (rig, owner, opened), client(rig, **bearer(tenancy.token("b"))) as other:
            await other.ask("open", scene="low", pacing="pull")
            if how == "expired":
                tenancy.clock.now += 3590  # of 3600: present, and then within the leeway
                swept(rig)
                tenancy.clock.now += 19
                swept(rig)
                assert (await owner.ask("state"))["type"] == "state"
                tenancy.clock.now += 2
            elif how == "issued before":
                tenancy.clock.now += 60
                revoke(tenancy.path, Revocation(tenant="a", issued_before=tenancy.clock.now))
            elif how == "the key is gone":
                tenancy.keys["a"] = new_key("a", "HS256", "a-2", tenancy.clock.now).toml
                tenancy.write()
            else:
                tenancy.path.write_text(tenancy.keys["b"])
            swept(rig)
            reason, code = await closing(owner)
            said = {"expired": "expired", "issued before": "revoked"}.get(how, "key of the token is not known")
            assert said in reason and code == 1008
            assert rig.stations.find(opened["session"]) is not None
            if how != "expired":
                assert (await other.ask("state"))["type"] == "state"

    with quiet_log():
        run(test())


def test_the_python_client_says_why_it_was_sent_away_and_goes_on_with_another_token(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)
    token, id = tenancy.issued("a")

    async def test() -> None:
        async with serving(security=tenancy.security) as rig:
            async with SafaClient.connect(rig.url, token) as one:
                opened = await one.open("low")
                await anext(one)
                revoke(tenancy.path, Revocation(id=id))
                with pytest.raises(FailureError, match="the token was revoked"):
                    async for _ in one:
                        pass
                assert one.resumed == 0 and one.events[-1]["type"] == "closing" and one.last is not None
                after = one.last.sequence
            async with SafaClient.connect(rig.url, tenancy.token("a")) as again:
                await again.join(opened["session"], opened["token"], control=True, from_=after)
                assert (await anext(again)).header.sequence == after + 1

    with quiet_log():
        run(test())


def test_other_protocols_know_the_tenant_and_are_cut_as_well(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)
    token, id = tenancy.issued("a")

    async def test() -> None:
        came: list[Principal] = []

        async def echo(connection: ServerConnection, who: Principal) -> None:
            came.append(who)
            async for message in connection:
                await connection.send(message)

        route = Route(lambda path: path == "/other", echo, lambda request: request.query.get("key"))
        async with serving(security=tenancy.security, routes=[route]) as rig:
            with pytest.raises(InvalidStatus, match="403"):
                await connect(f"ws://127.0.0.1:{rig.port}/other?key={tenancy.token('a', 'listen')}")
            async with connect(f"ws://127.0.0.1:{rig.port}/other?key={token}") as socket:
                await socket.send("there?")
                assert await socket.recv() == "there?" and came[0].tenant == "a"
                revoke(tenancy.path, Revocation(id=id))
                swept(rig)
                await socket.wait_closed()
                assert (socket.close_code, socket.close_reason) == (1008, "the token was revoked")

    with quiet_log():
        run(test())


def test_quotas_refuse_with_a_code_of_their_own(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path, sessions=2, layers=4, listeners=3, opens_per_minute=2)

    async def test() -> None:
        options = bearer(tenancy.token("a"))

        def refused(answer: dict[str, Any], quota: str) -> float:
            assert (answer["type"], answer["code"]) == ("error", "quota") and f"quota '{quota}'" in answer["reason"]
            return float(answer["retry_after"])

        async with (
            opened_by_a(tenancy) as (rig, owner, opened),
            client(rig, **options) as two,
            client(rig, **options) as three,
        ):
            for _ in range(2):
                assert (await owner.ask("layer.add", prompts="high"))["type"] == "done"
            assert (await owner.ask("scene.save", scene="three"))["type"] == "done"
            # Layers that wait for their time count, those of all its sessions together.
            assert (await owner.ask("layer.add", prompts="high", at=10**7))["type"] == "done"
            assert refused(await owner.ask("layer.add", prompts="high"), "layers") > 0
            assert refused(await two.ask("open", scene="low"), "layers") > 0
            assert (await owner.ask("layer.remove", layer=2, ramp=0))["type"] == "done"
            await owner.ask("grant", samples=10 * BLOCK)
            await eventually(lambda: rig.stations.usage("a").layers == 3)
            assert (await two.ask("open", scene="low", pacing="pull"))["type"] == "opened"
            assert refused(await three.ask("open", scene="low"), "sessions") > 0
            # A scene with more layers is no way around, whether it is given or was kept while there was room.
            content = next(text["content"] for text in owner.texts if text["type"] == "scene.saved")
            assert len(content["layers"]) == 3
            assert refused(await two.ask("scene.recall", scene=content), "layers") > 0
            assert refused(await owner.ask("scene.recall", scene="three"), "layers") > 0
            async with client(rig, **options) as more, client(rig, **options) as many:
                assert (await more.ask("join", session=opened["session"]))["type"] == "opened"
                assert refused(await many.ask("join", session=opened["session"]), "listeners") > 0
            await two.ask("close")
            await eventually(lambda: rig.stations.usage("a").sessions == 1)
            assert refused(await three.ask("open", scene="low"), "opens_per_minute") <= 30
            # What one tenant has used up is another's all the same, and the operator's.
            for token in (tenancy.token("b"), OPERATOR):
                async with client(rig, **bearer(token)) as one:
                    assert (await one.ask("open", scene="low", pacing="pull"))["type"] == "opened"
            told = {
                quota: rig.metrics.value("safa_tenant_refused_total", tenant="a", quota=quota)
                for quota in ("sessions", "layers")
            }
            assert told == {"sessions": 1, "layers": 4}
            # A change of the file counts at once.
            tenancy.write(layers=16)
            swept(rig)
            assert (await owner.ask("layer.add", prompts="high"))["type"] == "done"

    with quiet_log():
        run(test())


def test_a_tenants_sessions_end_when_they_are_too_old(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path, session_seconds=0.2)

    async def test() -> None:
        async with opened_by_a(tenancy) as (rig, owner, _), client(rig, **bearer(OPERATOR)) as us:
            ours = await us.ask("open", scene="low", pacing="pull")
            reason, code = await closing(owner)
            assert "sessions last 0.2 s" in reason and code == 1000
            assert rig.stations.find(ours["session"]) is not None

    with quiet_log():
        run(test())
