"""A real server is shown secrets of all kinds while it logs all it can; then every byte it wrote is looked through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from safa_server.settings import read_settings
from safa_server.tenants.book import Revocation
from safa_server.tenants.book_file import read_book, revoke
from safa_server.tenants.keys import new_key
from safa_server.tenants.tokens import issue
from safa_stream.errors import UsageError
from tests.server.osc_rig import peer
from tests.server.test_serve import COMMAND, ROOT
from tests.server.ws_rig import BLOCK, Raw

LYRIA = "ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateMusic"


class Shown:
    """Every secret that is used, by what it is."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "tenants.toml"
        key = new_key("museum", "HS256", "museum-1", time.time())
        self.path.write_text(key.toml)
        self.path.chmod(0o600)
        self.kept = {
            "token": secrets.token_urlsafe(24),
            "listen token": secrets.token_urlsafe(24),
            "mistyped": secrets.token_urlsafe(24),
            "icecast password": secrets.token_urlsafe(24),
            "signing key": key.key.material,
        }
        for name in ("tenant", "tenant listens", "revoked"):
            self.kept[name] = self.issued("listen" if name.endswith("listens") else "all")
        forged = self.kept["tenant"].rpartition(".")[0]
        self.kept["forged"] = f"{forged}.{secrets.token_urlsafe(32)}"
        revoke(self.path, Revocation(id=self.id))

    def issued(self, scope: Any) -> str:
        tenant = read_book(self.path).tenants["museum"]
        made = issue(tenant, tenant.keys[0], scope, 3600, time.time())
        self.id = made.grant.id
        return made.text

    def found_in(self, data: bytes) -> set[str]:
        """Which of them can be read in there, whole, or of a signed token the part that makes it good."""
        return {name for name, secret in self.kept.items() if secret.rpartition(".")[2].encode() in data}


@contextmanager
def server(shown: Shown, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A server that says all it can, into a file; secrets come by variables."""
    ready, said = shown.folder / "ready.json", shown.folder / "said.log"
    told = {"TOKEN": "token", "LISTEN_TOKEN": "listen token", "ICECAST_PASSWORD": "icecast password"}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in (".", "server"))}
    environment |= {f"SAFA_{name}": shown.kept[kind] for name, kind in told.items()}
    command = [*COMMAND, "serve", "--port", "0", "--osc-port", "0", "--oscquery-port", "0", "--quiet"]
    command += ["--tenants", str(shown.path), "--state", str(shown.folder / "state"), "--ready-file", str(ready)]
    command += ["--log-level", "debug", "--drain-seconds", "0.2", "--layers", "4", "--prompt", "rain", *flags]
    with said.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 90
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < end, said.read_text()
            time.sleep(0.05)
        yield process, json.loads(ready.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        ready.unlink(missing_ok=True)


@asynccontextmanager
async def talk(address: dict[str, Any], query: str = "", **headers: str) -> AsyncIterator[Raw]:
    """A client with a token in its address or its headers."""
    place = f"ws://127.0.0.1:{address['port']}/ws{query}"
    async with connect(place, additional_headers=headers, proxy=None) as socket:
        yield Raw(socket)


async def get(address: dict[str, Any], target: str, port: str = "port", token: str | None = None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", address[port])
    bearer = "" if token is None else f"Authorization: Bearer {token}\r\n"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def use(shown: Shown, address: dict[str, Any]) -> dict[str, Any]:
    """Open, go wrong in every way, lose the connection, come back; what a session was opened with."""
    kept = shown.kept
    for bad in ("mistyped", "revoked", "forged"):
        for query, headers in ((f"?token={kept[bad]}", {}), ("", {"Authorization": f"Bearer {kept[bad]}"})):
            with pytest.raises(InvalidStatus):
                await talk(address, query, **headers).__aenter__()
        async with talk(address) as one:
            refused = await one.ask("open", scene="rain", token=kept[bad])
            assert refused["code"] == "token" and kept[bad] not in json.dumps(refused)
        for query in (f"?key={kept[bad]}", f"?token={kept[bad]}"):
            with pytest.raises(InvalidStatus):
                await connect(f"ws://127.0.0.1:{address['port']}/{LYRIA}{query}", proxy=None)
        await get(address, "/metrics", token=kept[bad])
        await get(address, f"/?token={kept[bad]}", "oscquery_port")
    with peer() as osc:
        await osc.ask(address["osc_port"], "/safa/auth", kept["token"])
    for name in ("token", "listen token", "tenant", "tenant listens"):
        async with talk(address, f"?token={kept[name]}") as one:
            # Where it does not belong.
            for fields in ({"session": kept[name]}, {"session": "x", "token": 5}, {"session": "x", kept[name]: 1}):
                await one.ask("join", **fields)
            await one.socket.send(kept[name])
            await one.socket.send(kept[name].encode())
    async with talk(address, Authorization=f"Bearer {kept['tenant']}") as one:
        opened = await one.ask("open", scene="rain", pacing="pull", lead=2.0)
        kept["session token"] = opened["token"]
        assert (await one.ask("scene.save", scene="mine"))["type"] == "done"
        await one.ask("grant", samples=50 * BLOCK)
        await one.hear(30)
        one.socket.transport.abort()
    async with talk(address) as one:
        where = {"session": opened["session"], "token": opened["token"], "key": kept["tenant"]}
        again = await one.ask("join", **where, control=True, **{"from": 20})
        assert again["type"] == "opened" and again["resumed_from"] == 21
        assert (await one.ask("state"))["type"] == "state"
    shown.folder.joinpath("metrics.txt").write_bytes(await get(address, "/metrics", token=kept["token"]))
    return opened


async def come_back(shown: Shown, address: dict[str, Any], opened: dict[str, Any]) -> None:
    """To a server that has only what the first one left; its present session is cut when the token is revoked."""
    token = shown.issued("all")
    shown.kept["second of the tenant"] = token
    async with talk(address, Authorization=f"Bearer {token}") as one:
        joined = await one.ask("join", session=opened["session"], token=opened["token"], control=True)
        assert joined["type"] == "opened" and joined["control"]
        revoke(shown.path, Revocation(id=shown.id))
        with pytest.raises(ConnectionClosed):
            while True:
                await one.read()


def command_lines(pid: int) -> bytes:
    """What `ps` shows of a process and its children."""
    lines = Path(f"/proc/{pid}/cmdline").read_bytes()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            with contextlib.suppress(OSError):
                lines += command_lines(int(child))
    return lines


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_byte_that_the_server_writes_holds_a_secret(tmp_path: Path) -> None:
    shown = Shown(tmp_path)
    with server(shown) as (process, address):
        opened = asyncio.run(use(shown, address))
        seen = command_lines(process.pid)
        link = address["url"].partition("token=")[2].partition("&")[0]
    shown.kept["the link's token"] = link
    with server(shown, "--restore") as (process, address):
        asyncio.run(come_back(shown, address, opened))
        seen += command_lines(process.pid)
    # The key where it belongs: that the search finds what is there, and its file is closed to others.
    assert shown.found_in(shown.path.read_bytes()) == {"signing key"}
    said = (tmp_path / "said.log").read_bytes()
    assert b"DEBUG" in said and b"the token was revoked" in said and len(link) == 32
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != shown.path}
    assert len(written) > 6 and any(path.name == "session.json" for path in written)
    written[Path("/proc/cmdline")] = seen
    leaks = {str(path): found for path, data in written.items() if (found := shown.found_in(data))}
    assert not leaks


@pytest.mark.parametrize("line", ["token = 31415926535", "listen_token = [31415926535]", "icecast = 31415926535"])
def test_settings_that_are_wrong_are_named_without_the_secret(tmp_path: Path, line: str) -> None:
    (tmp_path / "safa.toml").write_text(line)
    with pytest.raises(UsageError, match="not what is there") as caught:
        read_settings({}, {}, tmp_path / "safa.toml")
    assert "31415926535" not in str(caught.value)
