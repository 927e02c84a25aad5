"""OSCQuery over real HTTP and WebSockets, and its announcement on the network."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from pythonosc.osc_message import OscMessage
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin
from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from safa_server import discovery
from safa_server.osc import OscServer
from safa_server.osc_map import ROOT, address_table
from safa_server.osc_reception import OscSettings
from safa_server.osc_tree import find, tree, value_of
from safa_server.oscquery import LARGEST_LISTENED, OscQuery, serve_oscquery
from safa_server.security import Security
from safa_server.station import Station
from safa_stream.errors import UsageError
from tests.server.osc_rig import live, on_air, packet

LOOPBACK = Security.of("127.0.0.1")


@asynccontextmanager
async def queried(security: Security = LOOPBACK) -> AsyncIterator[tuple[int, OscServer, Station]]:
    async with on_air() as (osc, station, stations):
        query = OscQuery(stations, lambda: station, osc, "test server")
        async with serve_oscquery(query, "127.0.0.1", 0, security) as port:
            yield port, osc, station


async def get(port: int, target: str, **headers: str) -> tuple[int, Any]:
    def fetch() -> tuple[int, Any]:
        try:
            with urlopen(Request(f"http://127.0.0.1:{port}{target}", headers=headers), timeout=5) as reply:
                text = reply.read()
                return reply.status, json.loads(text) if text else None
        except HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(fetch)


async def heard(socket: ClientConnection) -> tuple[str, list[Any]]:
    """The next OSC message of a WebSocket."""
    data = await asyncio.wait_for(socket.recv(), 10)
    assert isinstance(data, bytes), data
    message = OscMessage(data)
    return message.address, message.params


def leaves(node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Nodes that can be said something, by address."""
    found = {node["FULL_PATH"]: node} if "TYPE" in node else {}
    for child in node.get("CONTENTS", {}).values():
        found |= leaves(child)
    return found


def test_every_address_has_a_node() -> None:
    nodes = leaves(tree(None))
    for row in address_table():
        if row.direction == "in":
            node = nodes[row.address.replace("/N/", "/7/")]
            required = "".join(p.tag for p in row.parameters if p.required and p.tag != "*") or "N"
            assert node["TYPE"] == required and node["ACCESS"] == 2 and node["DESCRIPTION"] == row.meaning
            if required != "N":
                assert len(node["RANGE"]) == len(required)
    gain = nodes["/safa/layer/3/gain"]
    assert gain["TYPE"] == "f" and set(gain["RANGE"][0]) == {"MIN", "MAX"}
    assert [overload["TYPE"] for overload in gain["OVERLOADS"]] == ["ff"]
    assert find("/safa/rewind", None) is not None and find("/safa/rewind/to", None) is not None
    assert find("/safa/layer/8/gain", None) is None and find("/safa/prompt/x", None) is None
    assert "/safa/session/x/prompt" in leaves(tree(None, f"{ROOT}/session/x"))


@live
async def test_http() -> None:
    async with queried() as (port, osc, station):
        status, info = await get(port, "/?HOST_INFO")
        assert (status, info["NAME"], info["OSC_PORT"], info["OSC_TRANSPORT"]) == (200, "test server", osc.port, "UDP")
        assert info["EXTENSIONS"]["LISTEN"] and info["EXTENSIONS"]["VALUE"]
        status, top = await get(port, "/")
        assert (
            status == 200
            and top["FULL_PATH"] == "/"
            and set(top["CONTENTS"]["safa"]["CONTENTS"]) >= {"prompt", "layer"}
        )
        nodes = leaves(top)
        for path, node in nodes.items():
            assert (node["ACCESS"] & 1 == 1) == ("VALUE" in node), path
        assert nodes["/safa/prompt"]["VALUE"] == nodes["/safa/layer/0/prompt"]["VALUE"] == ["low, high:0.5"]
        assert nodes["/safa/layer/0/mute"]["VALUE"] == [False] and "VALUE" not in nodes["/safa/layer/1/mute"]
        assert nodes["/safa/status"]["ACCESS"] == 1 and nodes["/safa/status"]["VALUE"][0] == station.id
        assert await get(port, "/safa/layer/0/gain?VALUE") == (200, {"VALUE": [0.0]})
        assert await get(port, "/safa/layer/0/gain?TYPE") == (200, {"TYPE": "f"})
        assert (await get(port, "/safa/layer?CONTENTS"))[0] == 200
        assert (await get(port, "/safa/layer?VALUE"))[0] == 204
        assert (await get(port, "/safa/layer/1/gain?VALUE"))[0] == 204
        assert (await get(port, "/safa/layer/0/gain?COLOUR"))[0] == 400
        for nowhere in ("/nowhere", "/safa/layer/0/gain/x", "/safa/session/none/freeze", "/%ff%00", "/safa/../prompt"):
            assert (await get(port, nowhere))[0] == 404
        status, node = await get(port, f"/safa/session/{station.id}/layer/0/gain")
        assert (
            status == 200 and node["FULL_PATH"] == f"/safa/session/{station.id}/layer/0/gain" and node["VALUE"] == [0.0]
        )


@live
async def test_listening_and_steering_over_a_websocket() -> None:
    async with queried() as (port, osc, station):
        async with connect(f"ws://127.0.0.1:{port}/") as socket, connect(f"ws://127.0.0.1:{port}/") as other:
            for path in ("/safa/layer/0/gain", "/safa/layer/0/mute", "/safa/steps"):
                await socket.send(json.dumps({"COMMAND": "LISTEN", "DATA": path}))
            first = dict([await heard(socket) for _ in range(3)])
            assert first == {"/safa/layer/0/gain": [0.0], "/safa/layer/0/mute": [False], "/safa/steps": [None]}
            await other.send(packet("/safa/layer/0/gain", -6))
            assert await heard(other) == ("/safa/ok", ["/safa/layer/0/gain", 1])
            assert await heard(socket) == ("/safa/layer/0/gain", [-6.0])
            await other.send(packet("/safa/layer/0/mute", 1))
            assert await heard(socket) == ("/safa/layer/0/mute", [True])
            await socket.send(json.dumps({"COMMAND": "IGNORE", "DATA": "/safa/layer/0/gain"}))
            await socket.send(packet("/safa/layer/0/gain", -9))
            assert await heard(socket) == ("/safa/ok", ["/safa/layer/0/gain", 3])
            await socket.send(packet("/safa/steps", 5))
            assert await heard(socket) == ("/safa/ok", ["/safa/steps", 4])
            assert await heard(socket) == ("/safa/steps", [5])
            await socket.send(packet("/safa/subscribe", "", 0, 20))
            addresses = {(await heard(socket))[0] for _ in range(6)}
            assert addresses >= {"/safa/status", "/safa/meter"}
        for _ in range(100):
            if not len(osc.subscribers):
                break
            await asyncio.sleep(0.02)
        assert len(osc.subscribers) == 0


@live
async def test_messages_that_are_none() -> None:
    async with queried() as (port, osc, station):
        async with connect(f"ws://127.0.0.1:{port}/") as socket:
            strange: list[Any] = ["", "{", "[]", "7", '{"COMMAND": "LISTEN"}', '{"COMMAND": 1, "DATA": 2}', "[" * 9000]
            strange += [
                json.dumps({"COMMAND": "LISTEN", "DATA": path})
                for path in ("", "/", "/safa/play", "/nowhere", "x" * 999)
            ]
            strange.append('{"COMMAND": "PATH_ADDED", "DATA": "/x"}')
            for message in strange:
                await socket.send(message)
                told = json.loads(await asyncio.wait_for(socket.recv(), 10))
                assert told["COMMAND"] == "ERROR" and len(told["DATA"]) < 300
            await socket.send(b"\xff\xff")
            assert (await heard(socket))[0] == "/safa/error"
            await socket.send("x" * 20_000)
            with pytest.raises(Exception, match="1009"):
                while True:
                    await asyncio.wait_for(socket.recv(), 10)
        # Without a bound on what it holds unread, so that the client's own end of the connection can be closed at once.
        async with connect(f"ws://127.0.0.1:{port}/", max_queue=None) as socket:
            for number in range(LARGEST_LISTENED + 1):
                path = f"/safa/layer/0/gain{'/' * number}"
                await socket.send(json.dumps({"COMMAND": "LISTEN", "DATA": path}))
            await socket.send(packet("/safa/ping"))
            refused = 0
            while True:
                data = await asyncio.wait_for(socket.recv(), 10)
                if isinstance(data, str):
                    refused += "256" in data
                elif OscMessage(data).address == "/safa/pong":
                    break
            assert refused == 1


def test_bytes_that_are_no_http(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with queried() as (port, _, _):
            for strange in (
                b"",
                b"\0" * 4000 + b"\r\n",
                b"GET\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + b"a" * 20_000,
                b"PUT /x HTTP/1.1\r\n\r\n",
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(strange)
                if not strange:
                    writer.write_eof()
                with contextlib.suppress(ConnectionError):
                    assert len(await asyncio.wait_for(reader.read(), 15)) < 1000
                writer.close()
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(80)]
            ended = [await asyncio.wait({asyncio.create_task(reader.read())}, timeout=15) for reader, _ in idle[-10:]]
            assert all(done for done, _ in ended)
            for _, writer in idle:
                writer.close()
            for _ in range(100):
                with contextlib.suppress(OSError):
                    assert (await get(port, "/safa/layer/0/gain?VALUE"))[0] == 200
                    return
                await asyncio.sleep(0.05)
            raise AssertionError("connections that were closed still count")

    with caplog.at_level(logging.WARNING):
        asyncio.run(test())
    assert not caplog.records, caplog.text


@live
async def test_who_may_ask() -> None:
    async with queried(Security.of("0.0.0.0", "correct-horse")) as (port, _, _):
        assert (await get(port, "/safa/layer/0/gain?VALUE"))[0] == 401
        assert (await get(port, "/safa/layer/0/gain?VALUE", Authorization="Bearer correct-horse"))[0] == 200
        assert (await get(port, "/safa/layer/0/gain?VALUE&token=correct-horse"))[1] == {"VALUE": [0.0]}
        with pytest.raises(InvalidStatus):
            async with connect(f"ws://127.0.0.1:{port}/"):
                pass
        async with connect(f"ws://127.0.0.1:{port}/?token=correct-horse"):
            pass
    async with queried() as (port, _, _):
        assert (await get(port, "/", Host="evil.example"))[0] == 403
        with pytest.raises(InvalidStatus):
            async with connect(f"ws://127.0.0.1:{port}/", origin=Origin("https://evil.example")):
                pass


@live
async def test_a_websocket_that_came_in_with_the_token_may_steer() -> None:
    async with on_air(OscSettings(host="0.0.0.0", token="correct-horse")) as (osc, station, stations):
        query = OscQuery(stations, lambda: station, osc, "test server")
        async with serve_oscquery(query, "127.0.0.1", 0, Security.of("0.0.0.0", "correct-horse")) as port:
            async with connect(f"ws://127.0.0.1:{port}/?token=correct-horse") as socket:
                await socket.send(packet("/safa/layer/0/gain", -6))
                assert await heard(socket) == ("/safa/ok", ["/safa/layer/0/gain", 1])


def test_values_of_what_is_not_there() -> None:
    assert value_of("/layer/0/gain", None) is None and value_of("/play", {"master": {}}) is None


@live
async def test_the_server_is_found_on_the_network() -> None:
    """Announced and found over real multicast on loopback."""
    found: dict[str, asyncio.Event] = {kind: asyncio.Event() for kind in (discovery.OSC, discovery.OSCQUERY)}
    names: dict[str, str] = {}

    def changed(zeroconf: Any, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Added and name.startswith("safa test 4711"):
            names[service_type] = name
            found[service_type].set()

    finder = AsyncZeroconf(interfaces=["127.0.0.1"])
    browser = AsyncServiceBrowser(finder.zeroconf, list(found), handlers=[changed])
    try:
        async with discovery.announced("safa test 4711", "127.0.0.1", 9123, 8123, interfaces=["127.0.0.1"]):
            for kind, port in ((discovery.OSC, 9123), (discovery.OSCQUERY, 8123)):
                await asyncio.wait_for(found[kind].wait(), 10)
                info = AsyncServiceInfo(kind, names[kind])
                assert await info.async_request(finder.zeroconf, 3000)
                assert (info.port, info.parsed_addresses()) == (port, ["127.0.0.1"])
    finally:
        await browser.async_cancel()
        await finder.async_close()


def test_when_it_is_announced() -> None:
    assert [discovery.wanted("127.0.0.1", asked) for asked in (None, True, False)] == [False, True, False]
    assert [discovery.wanted("0.0.0.0", asked) for asked in (None, True, False)] == [True, True, False]


def test_without_zeroconf_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)

    async def test() -> None:
        with pytest.raises(UsageError, match="pip install"):
            async with discovery.announced("x", "127.0.0.1", 1, None):
                pass

    asyncio.run(test())
