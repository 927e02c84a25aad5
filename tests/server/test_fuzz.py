"""Hostile bytes and messages at a real port: a clear answer or a close code, a quiet log, and nobody else notices.

A good client listens all the while; at the end it has every frame in order, and steering it still works.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from safa_server.control import CODES
from safa_server.fields import WireError
from safa_server.limits import Limits
from safa_server.websocket import Quiet
from safa_server.wire import REQUESTS, parse, request_id, slots
from tests.server.ws_rig import BLOCK, Raw, Rig, client, eventually, quiet_log, run, serving

LIMITS = Limits(handshake_seconds=0.5, first_message_seconds=0.5, message_bytes=20_000, messages_per_second=5000)
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def attack(body: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    """Run an attack beside a good client; see the module."""

    async def test() -> None:
        async with serving(LIMITS) as rig, client(rig) as good:
            await good.ask("open", scene="low")
            listening = asyncio.create_task(good.hear(10**9))
            try:
                await body(rig)
            finally:
                listening.cancel()
                await asyncio.wait([listening])
            assert (await good.ask("mix", layer=0, gain=-1.0))["type"] == "done"
            await good.hear(len(good.frames) + 5)
            assert [head.sequence for head, _, _ in good.frames] == list(range(len(good.frames)))
            assert [head.start for head, _, _ in good.frames] == [n * BLOCK for n in range(len(good.frames))]
            await eventually(lambda: len(rig.front.sockets) == 1 == rig.metrics.value("safa_connections"))

    with quiet_log():
        run(test())


@asynccontextmanager
async def raw(rig: Rig, shake: bool = True) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection, through the handshake or not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    try:
        if shake:
            writer.write(HANDSHAKE)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        yield reader, writer
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One WebSocket frame as a client sends it."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    bit, size = (0x80 if masked else 0), len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


async def close_code(reader: asyncio.StreamReader) -> int | None:
    """The code with which the server closes; None where it just closes."""
    async with asyncio.timeout(20):
        try:
            while True:
                first, second = await reader.readexactly(2)
                size = second & 127
                if size == 126:
                    size = int.from_bytes(await reader.readexactly(2), "big")
                elif size == 127:
                    size = int.from_bytes(await reader.readexactly(8), "big")
                payload = await reader.readexactly(size)
                if first & 15 == 8:
                    return int.from_bytes(payload[:2], "big") if payload else None
        except (asyncio.IncompleteReadError, ConnectionError):
            return None


PING = json.dumps({"type": "ping", "client_clock": 1, "id": 1}).encode()
BROKEN = {
    "invalid UTF-8": (frame(1, b'{"type": "\xff"}'), 1007),
    "overlong UTF-8": (frame(1, b"\xc0\xaf"), 1007),
    "half a surrogate": (frame(1, b"\xed\xa0\x80"), 1007),
    "UTF-8 cut in fragments that never fit": (frame(1, b"\xe2", fin=False) + frame(0, b"\x28"), 1007),
    "reserved bit 1, as if compressed": (frame(1, PING, reserved=4), 1002),
    "reserved bit 3": (frame(1, PING, reserved=1), 1002),
    "reserved opcode": (frame(3, b""), 1002),
    "reserved control opcode": (frame(11, b""), 1002),
    "no mask": (frame(1, PING, masked=False), 1002),
    "a fragmented ping": (frame(9, b"", fin=False), 1002),
    "a ping that is too long": (frame(9, b"x" * 126), 1002),
    "a continuation of nothing": (frame(0, PING), 1002),
    "two messages interleaved": (frame(1, b"{", fin=False) + frame(1, PING), 1002),
    "a close of one byte": (frame(8, b"\x03"), 1002),
    "a close with a reserved code": (frame(8, (1005).to_bytes(2, "big")), 1002),
    "a close whose reason is no UTF-8": (frame(8, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    "a huge length": (struct.pack("!BBQ", 0x81, 0xFF, 2**62) + b"\0\0\0\0", 1009),
    "a length with the top bit": (struct.pack("!BBQ", 0x81, 0xFF, 2**63) + b"\0\0\0\0", 1009),
    "too long a message": (frame(1, b"x" * 20_001), 1009),
    "too long a message in fragments": (frame(1, b"x" * 15_000, fin=False) + frame(0, b"x" * 15_000), 1009),
    "a million small fragments": (frame(1, b"x", fin=False) + frame(0, b"xx", fin=False) * 100_000, 1009),
}


def test_broken_frames_close_with_the_code_that_says_why() -> None:
    async def body(rig: Rig) -> None:
        for name, (data, code) in BROKEN.items():
            async with raw(rig) as (reader, writer):
                writer.write(data)
                assert await close_code(reader) == code, name

    attack(body)


def test_connections_that_end_in_the_middle() -> None:
    async def body(rig: Rig) -> None:
        whole = frame(1, json.dumps({"type": "open", "scene": "low", "pacing": "pull"}).encode())
        for cut in range(0, len(whole), 7):
            async with raw(rig) as (_, writer):
                writer.write(whole[:cut])
                await writer.drain()
        for cut in range(0, len(HANDSHAKE), 11):
            async with raw(rig, shake=False) as (_, writer):
                writer.write(HANDSHAKE[:cut])
                await writer.drain()

    attack(body)


def test_handshakes_that_never_end_are_cut() -> None:
    async def body(rig: Rig) -> None:
        async def drip() -> None:
            async with raw(rig, shake=False) as (reader, writer):
                with pytest.raises((ConnectionError, EOFError)):
                    for byte in HANDSHAKE * 3:
                        writer.write(bytes([byte]))
                        await writer.drain()
                        await asyncio.sleep(0.02)
                        if reader.at_eof():
                            raise EOFError

        async def silence(shake: bool) -> None:
            async with raw(rig, shake) as (reader, _), asyncio.timeout(20):
                await reader.read()

        async with asyncio.timeout(30):
            await asyncio.gather(*(drip() for _ in range(5)), *(silence(n % 2 == 0) for n in range(10)))
        assert rig.metrics.value("safa_connections_refused_total", reason="too slow") >= 10

    attack(body)


def test_requests_that_are_none() -> None:
    async def body(rig: Rig) -> None:
        lines = [
            b"\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"G\xc3\x84T / HTTP/1.1\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            b"GET /%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            b"GET http://[::1/ HTTP/1.1\r\nHost: [::1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: " + b"x" * 9000 + b"\r\n\r\n",
            b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
            b"POST /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n123456789",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HANDSHAKE.replace(b"Version: 13", b"Version: 12"),
            HANDSHAKE.replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"short"),
            HANDSHAKE.replace(b"Connection: Upgrade\r\n", b""),
            HANDSHAKE.replace(b"/ws ", b"/../ws "),
            HANDSHAKE.replace(b"/ws ", b"/ws?" + b"a&" * 500 + b" "),
            HANDSHAKE.replace(b"\r\n\r\n", b"\r\nOrigin: http://[evil\r\nOrigin: x\r\n\r\n"),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
        ]
        for line in lines:
            async with raw(rig, shake=False) as (reader, writer):
                writer.write(line)
                writer.write_eof()
                async with asyncio.timeout(20):
                    try:
                        answer = await reader.read()
                    except ConnectionError:
                        answer = b""
                assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (line[:40], answer[:80])

    attack(body)


def test_random_bytes() -> None:
    async def body(rig: Rig) -> None:
        rng = random.Random(1)
        for n in range(150):
            async with raw(rig, shake=n % 2 == 0) as (_, writer):
                writer.write(rng.randbytes(rng.randrange(1, 400)))
                await writer.drain()

    attack(body)


def test_random_frames_of_valid_shape() -> None:
    async def body(rig: Rig) -> None:
        rng = random.Random(2)
        for _ in range(150):
            async with raw(rig) as (_, writer):
                for _ in range(rng.randrange(1, 6)):
                    opcode = rng.choice((0, 1, 1, 2, 8, 9, 10))
                    payload = rng.choice((PING, rng.randbytes(rng.randrange(0, 130)), b"{" * 100, b""))
                    writer.write(frame(opcode, payload, fin=rng.random() < 0.7))
                try:
                    await writer.drain()
                except ConnectionError:
                    pass

    attack(body)


VALUES: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-5, 10)
    | st.floats(allow_nan=True)
    | st.text(max_size=12)
    | st.sampled_from(["low", "high:0.5", "low, high", "pull", "live", "s16", 48_000, 1.0, 2, -6.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


MUTATIONS = ('"', "{", "]", "9" * 30, "\\ud800", "é", ":", "\0", "null", "-", "1e999", '"at":1,')


def messages(drawn: int, mutants: int) -> list[str]:
    """Messages that are nearly right, from Hypothesis' strategies, and copies of them with a few characters changed."""
    bodies: list[dict[str, Any]] = []
    kinds = [kind for kind in REQUESTS if kind != "close"]

    @seed(3)
    @settings(max_examples=drawn, deadline=None, database=None, phases=[Phase.generate])
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(kinds))
        body: dict[str, Any] = {"type": kind}
        for slot in slots(REQUESTS[kind]):
            if data.draw(st.integers(0, 3)):
                body[slot.name] = data.draw(VALUES)
        if not data.draw(st.integers(0, 5)):
            body[data.draw(st.text(max_size=8))] = data.draw(VALUES)
        bodies.append(body)

    draw()
    rng = random.Random(4)
    made = [json.dumps({**body, "id": 1000 + n}) for n, body in enumerate(bodies)]
    for _ in range(mutants):
        letters = list(rng.choice(made))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(letters))
            letters[at : at + rng.randrange(3)] = rng.choice(
                ('"', "{", "]", "9" * 30, "\\ud800", "é", ":", "\0", "null")
            )
        made.append("".join(letters))
    return made


def test_messages_that_are_nearly_right_are_all_answered() -> None:
    """From several clients at once, inside sessions of their own; every id is answered by a known code or done."""
    texts = messages(300, 2000)

    async def body(rig: Rig) -> None:
        async def one(share: list[str]) -> None:
            async with client(rig) as attacker:
                await attacker.ask("open", scene="low", pacing="pull")
                for text in share:
                    await attacker.socket.send(text)
                await attacker.ask("ping", client_clock=1)
                check(attacker, share)

        await asyncio.gather(*(one(texts[n::3]) for n in range(3)))

    attack(body)


def check(attacker: Raw, texts: list[str]) -> None:
    refused = [text for text in attacker.texts if text["type"] == "error"]
    assert all(text["code"] in CODES and text["reason"] and "\n" not in text["reason"] for text in refused)
    assert len(refused) > len(texts) / 2
    answers = {text["id"] for text in attacker.texts if "id" in text}
    for text in texts:
        try:
            number = request_id(parse(text))
        except WireError:
            continue
        assert number is None or number in answers, text


def test_the_library_s_complaints_are_one_line_of_information(caplog: pytest.LogCaptureFixture) -> None:
    """Some of its versions log a client's faults as errors with a trace."""
    caplog.set_level(logging.INFO)
    quiet = Quiet(logging.getLogger("tests"), {})
    try:
        raise EOFError("gone")
    except EOFError as error:
        quiet.error("opening handshake failed", exc_info=True)
        quiet.error("opening handshake failed", exc_info=error)
    assert [(one.levelname, one.getMessage(), one.exc_info) for one in caplog.records] == [
        ("INFO", "opening handshake failed: EOFError", None)
    ] * 2


def test_floods_of_pings_whose_answers_nobody_reads_are_cut() -> None:
    async def body(rig: Rig) -> None:
        async with raw(rig) as (_, writer):
            writer.write(frame(1, json.dumps({"type": "open", "scene": "low", "pacing": "pull"}).encode()))
            ping = frame(9, b"x" * 125) * 200
            with pytest.raises((ConnectionError, TimeoutError)):
                async with asyncio.timeout(40):
                    while True:
                        writer.write(ping)
                        await writer.drain()
                        for connection in rig.front.sockets:
                            assert connection.transport.get_write_buffer_size() < 64 * 1024 * 1024
            await eventually(lambda: len(rig.front.sockets) == 1, 8)

    attack(body)
