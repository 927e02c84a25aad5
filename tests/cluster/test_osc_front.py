"""OSC through a front end: a real client on UDP, real engines, and sessions that move and lose their engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pythonosc.udp_client import SimpleUDPClient

from safa_server import osc_reception
from safa_server.client import SafaClient
from safa_server.cluster.head import EnginePort, Head, HeadSettings
from safa_server.cluster.osc_front import OscFront
from safa_server.cluster.osc_parcels import Kind, Parcel
from safa_server.control import Close
from safa_server.osc_reception import OscSettings
from safa_stream.errors import FailureError
from tests.cluster.rig import SECRET, Cluster, cluster
from tests.server.osc_rig import Peer, live, packet, peer
from tests.server.tenants_rig import OPERATOR, Tenancy


@asynccontextmanager
async def spoken_to(folder: Path, **given: Any) -> AsyncIterator[tuple[Cluster, OscFront]]:
    """A cluster of two engines, and an OSC port of a front end."""
    async with cluster(folder, **given) as up:
        osc = OscFront(up.head, SECRET, OscSettings())
        await osc.start()
        try:
            yield up, osc
        finally:
            await osc.close()


def test_a_session_is_steered_wherever_it_is(tmp_path: Path) -> None:
    @live
    async def test() -> None:
        async with spoken_to(tmp_path) as (up, osc), SafaClient.connect(up.url) as client:
            port = osc.port
            with peer() as one:
                assert await one.ask(port, "/safa/layer/0/gain", -3.0) == (
                    "/safa/error",
                    ("/safa/layer/0/gain", "there is no session yet"),
                )
                session = (await client.open("low, high:0.5"))["session"]
                named = f"/safa/session/{session}"
                for address, value in (("/safa/layer/0/gain", -3.0), (f"{named}/layer/0/pan", 0.5)):
                    said, (about, _) = await one.ask(port, address, value)
                    assert (said, about) == ("/safa/ok", address)
                address, (where, reason) = await one.ask(port, "/safa/session/none/freeze")
                assert (address, where, reason) == (
                    "/safa/error",
                    "/safa/session/none/freeze",
                    "there is no session 'none'",
                )
                assert await one.ask(port, "/safa/subscribe", "", 0, 25.0) == ("/safa/ok", ("/safa/subscribe", 0))
                assert (await one.until("/safa/status"))[1][0] == session

                before = up.head.directory.sessions[session].engine
                moving = asyncio.create_task(up.head.move(session))
                # What is said meanwhile waits, and is carried out in order.
                for gain in range(-20, -9):
                    await one.send(port, packet(f"{named}/layer/0/gain", float(gain)))
                    await asyncio.sleep(0.02)
                route = await moving
                assert route is not None and route.engine != before
                for _ in range(-20, -9):
                    assert (await one.until("/safa/ok"))[1][0] == f"{named}/layer/0/gain"
                await one.send(port, packet("/safa/state"))
                state = json.loads((await one.until("/safa/state"))[1][1])["layers"][0]
                assert (state["gain"], state["pan"]) == (-10.0, 0.5)
                # Nobody has subscribed anew: the front end has.
                _drained(one)
                statuses = [(await one.until("/safa/status"))[1] for _ in range(5)]
                assert {status[0] for status in statuses} == {session}
                # What others use knows nothing of all that.
                assert await asyncio.to_thread(_said, port, f"{named}/layer/0/mute", True) == "/safa/ok"
                assert (await client.state())["layers"][0]["mute"]

                lost = up.ports[route.engine]
                lost.frozen = True
                await one.send(port, packet("/safa/layer/0/gain", -1.0))
                await lost.engine.stop()
                await _until_elsewhere(up.head, session, route.engine)
                await one.send(port, packet("/safa/layer/0/gain", -2.0))
                while (await client.state())["layers"][0]["gain"] != -2.0:
                    await asyncio.sleep(0.05)
                _drained(one)
                assert (await one.until("/safa/status"))[1][0] == session
                await one.send(port, packet("/safa/unsubscribe"))
                await one.until("/safa/ok")
                await asyncio.sleep(0.1)
                _drained(one)
                assert await one.silent()

    test()


def test_an_engine_that_was_given_up_and_lives_on_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osc_reception, "SWEEP_SECONDS", 0.2)

    @live
    async def test() -> None:
        async with spoken_to(tmp_path, patience=0.5) as (up, osc), SafaClient.connect(up.url) as client:
            session = (await client.open("low"))["session"]
            with peer() as one:
                await one.ask(osc.port, "/safa/subscribe", "", 0, 25.0)
                zombie = await up.port_of(session)
                zombie.frozen = True
                await _until_elsewhere(up.head, session, zombie.engine.settings.name)
                async with SafaClient.connect(up.url) as other:
                    await other.join(session, client.opened["token"], control=True)
                    while (await other.state())["layers"][0]["gain"] != -2.0:
                        await one.send(osc.port, packet("/safa/layer/0/gain", -2.0))
                        await asyncio.sleep(0.05)
                    await other.send(Close())
                assert (await one.until("/safa/error"))[1] == ("/safa", "the session is closed")
                await one.send(osc.port, packet("/safa/freeze"))
                assert (await one.until("/safa/error"))[1] == ("/safa/freeze", "there is no session yet")
                zombie.frozen = False

    test()


def test_tenants_sessions_are_none_to_osc(tmp_path: Path) -> None:
    tenancy = Tenancy(tmp_path)

    @live
    async def test() -> None:
        async with (
            spoken_to(tmp_path / "state", security=tenancy.security) as (up, osc),
            SafaClient.connect(up.url, tenancy.token("a")) as client,
        ):
            session = (await client.open("low"))["session"]
            with peer() as one:
                for address, session_named in (("/safa/freeze", "yet"), (f"/safa/session/{session}/freeze", session)):
                    said, (where, reason) = await one.ask(osc.port, address)
                    assert (said, where) == ("/safa/error", address)
                    assert reason.startswith("there is no session") and session_named in reason
                # Also one that is the operator's is no way to it.
                async with SafaClient.connect(up.url, OPERATOR) as other:
                    mine = (await other.open("low"))["session"]
                    address = f"/safa/session/{mine}/freeze"
                    theirs = f"/safa/session/{session}/freeze"
                    assert (await one.ask(osc.port, "/safa/quantise", "beat", theirs))[0] == "/safa/error"
                    assert (await one.ask(osc.port, address))[0] == "/safa/ok"
                    assert (await one.ask(osc.port, "/safa/layer/0/gain", -3.0))[0] == "/safa/ok"
                    assert not (await client.state())["frozen"] and (await other.state())["frozen"]

    test()


def test_who_speaks_gives_the_token(tmp_path: Path) -> None:
    @live
    async def test() -> None:
        osc = OscFront(Head(_never, HeadSettings()), SECRET, OscSettings("0.0.0.0", token="a-long-token"))
        await osc.start()
        with peer() as one:
            await one.send(osc.port, packet("/safa/freeze"))
            assert await one.silent()
            assert (await one.ask(osc.port, "/safa/auth", "a-long-token"))[0] == "/safa/ok"
            address, (_, reason) = await one.ask(osc.port, "/safa/freeze")
            assert (address, reason) == ("/safa/error", "there is no session yet")
        await osc.close()

    test()


def test_parcels_come_back_as_they_were() -> None:
    parcel = Parcel(Kind.PACKET, "session", "::1", 65535, b"/safa/freeze")
    assert Parcel.read(parcel.wrapped()) == parcel
    assert Parcel.read(Parcel(Kind.MOVED, "session").wrapped()) == Parcel(Kind.MOVED, "session")
    for wrong in ("text", b"", parcel.wrapped()[:9], b"\xff" + parcel.wrapped()[1:], b"\0\0\0\2\0\xff\xff"):
        with pytest.raises(FailureError, match="cannot be read"):
            Parcel.read(wrong)


def _said(port: int, address: str, value: Any) -> str:
    """A message of python-osc's own client, and what is answered."""
    with SimpleUDPClient("127.0.0.1", port) as one:
        one.send_message(address, value)
        return str(next(one.get_messages(10)).address)


async def _never(name: str) -> EnginePort:
    raise AssertionError("no engine is wanted")


async def _until_elsewhere(head: Head, session: str, engine: str) -> None:
    async with asyncio.timeout(20):
        while (route := await head.where(session, 1.0)) is None or route.engine == engine:
            await asyncio.sleep(0.05)


def _drained(one: Peer) -> None:
    """Forget what has come so far."""
    try:
        while True:
            one.socket.recv(65536)
    except BlockingIOError:
        pass
