"""The OSC server over TCP, beyond loopback, and against clients that mean no good."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from typing import Any

import pytest
from pythonosc import slip
from pythonosc.osc_message import OscMessage

from safa_server import osc_sockets
from safa_server.osc_reception import OscSettings
from safa_server.requests import OpenRequest
from safa_stream.errors import UsageError
from tests.server.osc_rig import LONGEST_TEST, Wire, bundle, live, on_air, packet, peer, playing


@pytest.mark.parametrize("style", ["slip", "length"])
def test_tcp(style: str) -> None:
    async def test() -> None:
        async with on_air(OscSettings(tcp_port=0)) as (server, station, _):
            await playing(station)
            wire = await Wire.to(server.tcp_port, style)
            data = wire.framing.wrapped(packet("/safa/layer/0/gain", -6)) + wire.framing.wrapped(
                packet("/safa/ping", 3)
            )
            for byte in data:
                wire.writer.write(bytes([byte]))
                await wire.writer.drain()
            assert await wire.next() == ("/safa/ok", ("/safa/layer/0/gain", 1))
            assert (await wire.next())[0] == "/safa/pong"
            wire.send(packet("/safa/subscribe", "", 0, 20))
            assert await wire.next() == ("/safa/ok", ("/safa/subscribe", 0))
            addresses = [(await wire.next())[0] for _ in range(6)]
            assert {"/safa/status", "/safa/meter"} <= set(addresses)
            await wire.close()
            for _ in range(100):
                if not len(server.subscribers):
                    break
                await asyncio.sleep(0.02)
            assert len(server.subscribers) == 0

    asyncio.run(asyncio.wait_for(test(), LONGEST_TEST))


@live
async def test_tcp_refuses_what_is_no_osc_and_too_many() -> None:
    async with on_air(OscSettings(tcp_port=0, connections=2)) as (server, _, _):
        for strange in (b"POST / HTTP/1.1\r\n\r\n", b"\0\xff\xff\xff", b"\xc0" * 3 + b"x" * 40_000):
            wire = await Wire.to(server.tcp_port, "slip")
            wire.writer.write(strange)
            assert await wire.ended()
            await wire.close()
        first, second = await Wire.to(server.tcp_port, "slip"), await Wire.to(server.tcp_port, "length")
        third = await Wire.to(server.tcp_port, "slip")
        assert await third.ended()
        first.send(packet("/safa/ping"))
        assert (await first.next())[0] == "/safa/pong"
        for wire in (first, second, third):
            await wire.close()


@live
async def test_a_client_that_does_not_read_is_hung_up_on() -> None:
    settings = OscSettings(tcp_port=0, packets_per_second=1e6, packet_burst=1e6)
    async with on_air(settings) as (server, station, _):
        assert server.tcp_port is not None
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.tcp_port))
        deaf.setblocking(False)
        deaf.send(slip.encode(packet("/safa/subscribe", "", 0, 50)))
        for _ in range(200):
            with contextlib.suppress(BlockingIOError, ConnectionError):
                deaf.send(slip.encode(packet("/safa/state")) * 40)
            await asyncio.sleep(0.01)
            if server._tcp is not None and not server._tcp._connections:
                break
        assert server._tcp is not None and not server._tcp._connections
        assert len(server.subscribers) == 0
        deaf.close()
        with peer() as one:
            assert (await one.ask(server.port, "/safa/ping"))[0] == "/safa/pong"


@live
async def test_beyond_loopback_the_token_comes_first() -> None:
    with pytest.raises(UsageError, match="set a token"):
        OscSettings(host="0.0.0.0")
    async with on_air(OscSettings(host="0.0.0.0", token="correct-horse", tcp_port=0)) as (server, station, _):
        with peer() as one, peer() as other:
            await one.send(server.port, packet("/safa/ping"))
            assert await one.silent(0.2), "an answer that is longer than its question"
            long = packet("/safa/prompt", "a prompt line that is longer than the answer to it will be, by far")
            await one.send(server.port, long)
            answer = await one.raw()
            assert len(answer) <= len(long) and OscMessage(answer).params[1] == "say /safa/auth TOKEN first"
            address, arguments = await one.ask(server.port, "/safa/auth", "wrong-horse-of-some-length")
            assert (address, arguments) == ("/safa/error", ("/safa/auth", "wrong token"))
            assert await one.ask(server.port, "/safa/auth", "correct-horse") == ("/safa/ok", ("/safa/auth", 0))
            assert (await one.ask(server.port, "/safa/layer/0/gain", -6))[0] == "/safa/ok"
            many = bundle(None, *[packet("/safa/auth", "wrong-horse-of-some-length")] * 50)
            await other.send(server.port, many)
            assert len(await other.raw()) <= len(many)
            await other.send(server.port, packet("/safa/layer/0/gain", -7))
            assert await other.silent(0.2)
            assert station.state()["layers"][0]["gain"] == -6
        wire = await Wire.to(server.tcp_port, "slip")
        wire.send(packet("/safa/ping"))
        assert (await wire.next())[1][1] == "say /safa/auth TOKEN first"
        wire.send(packet("/safa/auth", "correct-horse"))
        wire.send(packet("/safa/ping"))
        assert [(await wire.next())[0], (await wire.next())[0]] == ["/safa/ok", "/safa/pong"]
        await wire.close()


def test_a_connection_without_a_token_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osc_sockets, "AUTH_SECONDS", 0.3)

    async def test() -> None:
        async with on_air(OscSettings(host="0.0.0.0", token="correct-horse", tcp_port=0)) as (server, _, _):
            silent, known = await Wire.to(server.tcp_port, "slip"), await Wire.to(server.tcp_port, "slip")
            known.send(packet("/safa/auth", "correct-horse"))
            assert (await known.next())[0] == "/safa/ok"
            assert await silent.ended()
            known.send(packet("/safa/ping"))
            assert (await known.next())[0] == "/safa/pong"
            for wire in (silent, known):
                await wire.close()

    asyncio.run(asyncio.wait_for(test(), LONGEST_TEST))


@live
async def test_ipv6() -> None:
    loop = asyncio.get_running_loop()
    for host in ("::1", "::"):
        async with on_air(OscSettings(host=host, token="correct-horse", tcp_port=0)) as (server, _, _):
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one, peer() as other:
                one.setblocking(False)
                for data in (packet("/safa/auth", "correct-horse"), packet("/safa/subscribe", "::1", 0, 50)):
                    await loop.sock_sendto(one, data, ("::1", server.port))
                    assert OscMessage(await asyncio.wait_for(loop.sock_recv(one, 4096), 10)).address == "/safa/ok"
                assert OscMessage(await asyncio.wait_for(loop.sock_recv(one, 4096), 10)).address == "/safa/status"
                if host == "::":
                    # IPv4 comes in at the same port, and is written as IPv4.
                    assert (await other.ask(server.port, "/safa/auth", "correct-horse"))[0] == "/safa/ok"
                    assert (await other.ask(server.port, "/safa/subscribe", "127.0.0.1", 0, 50))[0] == "/safa/ok"
                    assert (await other.next())[0] == "/safa/status"
                    other.close()
                    while len(server.subscribers) > 1:
                        await asyncio.sleep(0.02)


@live
async def test_floods_are_cut() -> None:
    async with on_air(OscSettings(packets_per_second=50, packet_burst=100)) as (server, station, _):
        await playing(station)
        with peer() as one:
            for number in range(1000):
                await one.send(server.port, packet("/safa/ping"))
                while server.counts.packets < number:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.2)
            assert server.counts.messages < 200 and server.counts.too_many > 700
            await asyncio.sleep(0.3)
            assert (await one.until("/safa/pong"))[0] == "/safa/pong"


def fuzzed(source: random.Random) -> bytes:
    """A packet that was good once, cut, flipped, or put together from parts of others; or bytes that mean nothing."""
    addresses = [
        "prompt",
        "layer/0/gain",
        "layer/*/mute",
        "at",
        "subscribe",
        "scene/recall",
        "state",
        "seed",
        "x",
        "auth",
    ]
    values: list[Any] = [
        0,
        -1,
        2**31 - 1,
        2**40,
        0.5,
        float("nan"),
        -float("inf"),
        "",
        "x" * 300,
        "{",
        b"\0\1",
        True,
        None,
        [1],
    ]
    chosen = [source.choice(values) for _ in range(source.randrange(6))]
    data = bytearray(packet(f"/safa/{source.choice(addresses)}", *chosen))
    if source.random() < 0.3:
        data = bytearray(bundle(source.choice([None, 0.0, 1e9, time.time() + 5, 2e9]), bytes(data), bytes(data)))
    for _ in range(source.choice([0, 1, 1, 3, 20])):
        match source.randrange(4):
            case 0:
                data[source.randrange(len(data))] = source.randrange(256)
            case 1:
                del data[source.randrange(len(data)) :]
            case 2:
                at = source.randrange(len(data) + 1)
                data[at:at] = source.randbytes(source.choice([1, 4, 9]))
            case _:
                data = bytearray(source.randbytes(source.randrange(1, 200)))
        if not data:
            data = bytearray(b"/")
    return bytes(data)


def test_ten_thousand_fuzzed_packets(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        settings = OscSettings(packets_per_second=1e6, packet_burst=1e6, tcp_port=0)
        async with on_air(settings) as (server, station, stations):
            untouched = await stations.open(OpenRequest("high, low"))
            before = {key: value for key, value in untouched.state().items() if key in ("layers", "master", "scenes")}
            source = random.Random(20)
            await playing(station)
            station.pause()
            with peer() as one:
                for number in range(10_000):
                    await one.send(server.port, fuzzed(source))
                    # What a full socket loses would not be tested.
                    while server.counts.packets < number - 20:
                        await asyncio.sleep(0)
                    if number % 100 == 0:
                        with contextlib.suppress(BlockingIOError):
                            while one.socket.recv(65536):
                                pass
                while server.counts.packets < 10_000:
                    await asyncio.sleep(0.01)
            for _ in range(20):
                wire = await Wire.to(server.tcp_port, "slip")
                wire.writer.write(b"".join(slip.encode(fuzzed(source)) for _ in range(20)) + source.randbytes(50))
                await wire.close()
            with peer() as one:
                await one.send(server.port, packet("/safa/ping", "still there"))
                assert (await one.until("/safa/pong"))[1][0] == "still there"
            assert server.counts.errors > 3000 and len(server.subscribers) <= 32
            after = untouched.state()
            heard = {"heard", "lead", "bed", "ending", "level"}
            assert {k: v for k, v in after["layers"][0].items() if k not in heard} == {
                k: v for k, v in before["layers"][0].items() if k not in heard
            }
            assert after["master"] | {"level": 0} == before["master"] | {"level": 0}
            assert untouched.position > 0 and station.position > 0

    with caplog.at_level(logging.WARNING):
        asyncio.run(asyncio.wait_for(test(), LONGEST_TEST))
    assert not caplog.records, [record.getMessage() for record in caplog.records][:3]


def test_ports_that_are_taken() -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken, socket.socket() as listening:
            taken.bind(("127.0.0.1", 0))
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            for settings, words in (
                (OscSettings(port=taken.getsockname()[1]), "UDP port"),
                (OscSettings(tcp_port=listening.getsockname()[1]), "TCP port"),
                (OscSettings(host="no.such.host.invalid", token="x" * 9), "cannot listen"),
            ):
                with pytest.raises(UsageError, match=words):
                    async with on_air(settings):
                        pass

    asyncio.run(test())
