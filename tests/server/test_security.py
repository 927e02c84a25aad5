"""Who may connect: tokens, origins, host names, TLS; over real sockets where a socket decides."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from safa_server.secret import new_token
from safa_server.security import Security, is_loopback, same, tls_context, token_in
from safa_stream.errors import UsageError
from tests.server.certificates import make_certificates
from tests.server.ws_rig import Rig, client, quiet_log, run, serving

TOKEN = "a-long-token"


async def refusal(rig: Rig, **options: Any) -> int:
    """The status with which a WebSocket is refused; 101 where it is not."""
    try:
        async with client(rig, **options):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.7", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_what_is_loopback(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def test_beyond_loopback_a_token_is_required() -> None:
    assert Security.of("127.0.0.1").token is None
    for host in ("0.0.0.0", "192.168.1.7", "::", "example.org"):
        with pytest.raises(UsageError, match="set a token, or bind to 127.0.0.1"):
            Security.of(host)
        assert Security.of(host, TOKEN).who(TOKEN).operates
    for weak in ("short", "with\nlines", "smörgås-bord"):
        with pytest.raises(UsageError, match="at least 8 characters"):
            Security.of("0.0.0.0", weak)
    with pytest.raises(UsageError, match="origin"):
        Security.of("127.0.0.1", None, ("example.org",))


def test_tokens_are_compared_whole() -> None:
    assert same("abc", "abc")
    for given in (None, "", "ab", "abcd", "ABC", "\ud800"):
        assert not same(given, "abc")
    assert not same("", "") and not same("None", None)
    assert not Security(TOKEN).who(None).operates and Security().who(None).operates
    assert len({new_token() for _ in range(50)}) == 50 and len(new_token()) >= 32


def test_where_a_token_is_looked_for() -> None:
    assert token_in({"authorization": "Bearer abc"}, {}) == "abc"
    assert token_in({"authorization": "bearer  abc "}, {"token": "other"}) == "abc"
    assert token_in({}, {"token": "abc"}) == "abc"
    assert token_in({"authorization": "Basic abc"}, {}) is None


@pytest.mark.parametrize(
    ("origin", "host", "trusted"),
    [
        (None, "127.0.0.1:8765", True),
        ("http://127.0.0.1:8765", "127.0.0.1:8765", True),
        ("http://localhost:8765", "localhost:8765", True),
        ("https://play.example.org", "play.example.org", True),
        ("https://play.example.org", "play.example.org:443", True),
        ("http://[::1]:8765", "[::1]:8765", True),
        ("https://friend.example.org", "127.0.0.1:8765", True),
        ("https://friend.example.org:443", "127.0.0.1:8765", True),
        ("http://friend.example.org", "127.0.0.1:8765", False),
        ("https://friend.example.org.evil.org", "127.0.0.1:8765", False),
        ("https://evil.org", "127.0.0.1:8765", False),
        ("http://127.0.0.1:9999", "127.0.0.1:8765", False),
        ("http://localhost:8765", "127.0.0.1:8765", False),
        ("null", "127.0.0.1:8765", False),
        ("", "127.0.0.1:8765", False),
        ("file://", "127.0.0.1:8765", False),
        ("http://127.0.0.1:8765@evil.org", "127.0.0.1:8765", False),
        ("http://127.0.0.1:99999", "127.0.0.1:99999", False),
        ("http://a b", None, False),
    ],
)
def test_origins(origin: str | None, host: str | None, trusted: bool) -> None:
    assert Security.of("127.0.0.1", None, ("https://friend.example.org",)).trusts(origin, host) is trusted
    assert Security.of("127.0.0.1", None, ("*",)).trusts(origin, host)


def test_browsers_of_other_pages_are_refused() -> None:
    async def test() -> None:
        async with serving() as rig:
            own = f"http://127.0.0.1:{rig.port}"
            assert await refusal(rig, origin=own) == 101
            assert await refusal(rig, origin="https://evil.org") == 403
            assert await refusal(rig, origin="null") == 403
            assert rig.metrics.value("safa_connections_refused_total", reason="origin") == 2

    with quiet_log():
        run(test())


def test_a_name_that_was_made_to_point_here_is_refused() -> None:
    """DNS rebinding: the page's origin and the Host header agree, and both are somebody else's."""

    async def test() -> None:
        async with serving() as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(
                b"GET /ws HTTP/1.1\r\nHost: evil.org\r\nOrigin: http://evil.org\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert (await reader.read()).startswith(b"HTTP/1.1 421 ")
            writer.close()
            await writer.wait_closed()
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: evil.org\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 421 ")
            writer.close()
            await writer.wait_closed()

    assert Security.of("127.0.0.1", None, ("http://stage.example.org",)).knows_host("stage.example.org:8765")
    assert Security.of("0.0.0.0", TOKEN).knows_host("anything.example.org")
    with quiet_log():
        run(test())


def test_the_token_of_a_websocket() -> None:
    async def test() -> None:
        async with serving(security=Security.of("0.0.0.0", TOKEN)) as rig:
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            assert await refusal(rig, additional_headers=bearer) == 101
            assert await refusal(rig, additional_headers={"Authorization": "Bearer wrong-token"}) == 401
            async with client(rig, additional_headers=bearer) as one:
                opened = await one.ask("open", scene="low")
                assert opened["type"] == "opened"
                # In the first message instead.
                async with client(rig) as two:
                    assert (await two.ask("open", scene="low", token=TOKEN))["type"] == "opened"
                # A session's own token lets in who was given it, and nowhere else.
                async with client(rig) as three:
                    joined = await three.ask("join", session=opened["session"], token=opened["token"])
                    assert joined["type"] == "opened" and (await three.ask("state"))["type"] == "state"
                for type, fields in (
                    ("open", {"scene": "low"}),
                    ("open", {"scene": "low", "token": opened["token"]}),
                    ("join", {"session": opened["session"]}),
                    ("join", {"session": opened["session"], "token": "wrong-token"}),
                    ("join", {"session": "nobody", "token": opened["token"]}),
                    ("ping", {"client_clock": 1}),
                ):
                    async with client(rig) as four:
                        answer = await four.ask(type, **fields)
                        assert (answer["type"], answer["code"]) == ("error", "token"), (type, fields)
                        await four.socket.wait_closed()
                        assert four.socket.close_code == 1008
                assert len(rig.stations.all()) == 2

    with quiet_log():
        run(test())


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    assert isinstance(tls_context(made.certificate, made.key), ssl.SSLContext)
    both = tmp_path / "both.pem"
    both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    tls_context(both, None)
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    for certificate, key, said in (
        (tmp_path / "missing.pem", made.key, "missing.pem is not a file"),
        (made.certificate, tmp_path / "missing.key", "missing.key is not a file"),
        (made.certificate, other.key, "key values mismatch"),
        (rubbish, made.key, "cannot be used"),
        (made.certificate, None, "cannot be used"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            tls_context(certificate, key)
        assert "\n" not in str(caught.value)


def test_plain_text_at_a_tls_port_harms_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        made = make_certificates(tmp_path)
        context = tls_context(made.certificate, made.key)
        async with serving(tls=context) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await reader.read()
            writer.close()
            await writer.wait_closed()
            async with client(rig, ssl=made.client_context()) as one:
                assert (await one.ask("open", scene="low"))["type"] == "opened"
                await one.hear(20)

    with quiet_log():
        run(test())
