"""Who a kept session belongs to, and what a stolen state folder is worth."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from safa_server.blocks import BLOCK
from safa_server.requests import OpenRequest
from safa_server.runner import Runner
from safa_server.secret import MOST_TOKENS, Secret
from safa_server.serve import _main_session
from safa_server.settings import Settings
from safa_server.station import Station
from safa_server.stations import Stations
from safa_server.storage import DESCRIPTION, SNAPSHOT, Storage
from tests.server.ws_rig import run, toy_48k


class Server:
    """Stations over a state folder, begun and stopped like a server's."""

    def __init__(self, folder: Path) -> None:
        model = toy_48k()
        self.runner = Runner(model, largest_layers=64)
        self.runner.start()
        self.stations = Stations(self.runner, storage=Storage(folder, model))

    async def stop(self) -> None:
        await self.stations.drain()
        self.runner.stop()


async def heard(station: Station) -> None:
    """Until something of the session has left it."""
    station.grant(5 * BLOCK)
    async with asyncio.timeout(30):
        while station.position < 5 * BLOCK:
            await asyncio.sleep(0.01)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_restored_session_is_still_its_tenants_and_opens_by_its_token(tmp_path: Path) -> None:
    async def test() -> None:
        server, tokens = Server(tmp_path), {}
        for tenant in (None, "a", "b"):
            station = await server.stations.open(OpenRequest("low", "pull", 2.0, tenant=tenant))
            await heard(station)
            assert station.token is not None and station.secret.opens(station.token)
            tokens[station.id] = tenant, station.token
        await server.stop()
        places = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(DESCRIPTION)}
        assert places == {f"tenants/{tenant}/{id}" if tenant else id for id, (tenant, _) in tokens.items()}
        for path in tmp_path.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0 or path.name == "journal.jsonl" or path.parent == tmp_path, path
        held = everything(tmp_path)
        assert not [token for _, token in tokens.values() if token.encode() in held]

        server = Server(tmp_path)
        restored = server.stations.restore()
        assert {station.id: station.tenant for station in restored} == {id: tokens[id][0] for id in tokens}
        for station in restored:
            assert station.token is None and station.secret.opens(tokens[station.id][1])
            assert not station.secret.opens(station.secret.digests[0]), "what the folder holds opens nothing"
        await server.stop()

    run(test())


def test_the_older_form_is_read_and_its_token_does_not_stay(tmp_path: Path) -> None:
    async def test() -> None:
        server = Server(tmp_path)
        station = await server.stations.open(OpenRequest("low", "pull", 2.0))
        await heard(station)
        await server.stop()
        path = tmp_path / station.id / DESCRIPTION
        about = json.loads(path.read_text())
        assert about["format"] == "safa-session-2"
        older = {"format": "safa-session-1", "id": station.id, "token": "an-old-token", "name": None}
        path.write_text(json.dumps({**older, "pacing": "pull", "lead": 2.0}))
        server = Server(tmp_path)
        (again,) = server.stations.restore()
        assert again.secret.opens("an-old-token") and again.tenant is None
        assert b"an-old-token" not in everything(tmp_path)
        await server.stop()

    run(test())


@pytest.mark.parametrize("change", ["moved to another tenant", "moved to the operator", "tenant rewritten"])
def test_a_folder_in_anothers_place_is_nobodys(tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        server = Server(tmp_path)
        station = await server.stations.open(OpenRequest("low", "pull", 2.0, tenant="a"))
        await heard(station)
        await server.stop()
        place = tmp_path / "tenants" / "a" / station.id
        assert (place / SNAPSHOT).exists()
        if change == "tenant rewritten":
            about = json.loads((place / DESCRIPTION).read_text())
            (place / DESCRIPTION).write_text(json.dumps({**about, "tenant": "b"}))
        else:
            target = tmp_path / "tenants" / "b" if change.endswith("tenant") else tmp_path
            target.mkdir(exist_ok=True)
            place.rename(target / station.id)
        server = Server(tmp_path)
        assert server.stations.restore() == []
        await server.stop()
        assert "does not belong there" in caplog.text

    run(test())


def test_the_servers_own_session_is_no_tenants_and_gets_links_that_last(tmp_path: Path) -> None:
    settings = Settings(prompt="low", state=tmp_path, restore=True)

    async def start(token: str | None = None) -> tuple[Server, Station, str]:
        server = Server(tmp_path)
        restored = server.stations.restore()
        main = await _main_session(settings, server.stations, restored)
        assert main is not None and main.tenant is None
        assert token is None or main.secret.opens(token)
        return server, main, main.token or main.renew_token()

    async def test() -> None:
        server = Server(tmp_path)
        theirs = await server.stations.open(OpenRequest("high", "live", 2.0, "main", tenant="a"))
        await server.stop()
        server, main, first = await start()
        assert main.id != theirs.id, "a tenant called its session like the server's own"
        await server.stop()
        server, again, second = await start(first)
        assert again.id == main.id and second != first
        await server.stop()
        server, _, third = await start(second)
        assert len({first, second, third}) == 3
        await server.stop()
        server, last, _ = await start(third)
        assert last.secret.opens(first) and len(last.secret.digests) == 4
        await server.stop()

    run(test())


def test_a_secret_keeps_no_more_than_hashes() -> None:
    secret = Secret.new()
    token: Any = secret.token
    assert len(token) == 32 and token not in repr(secret)
    for wrong in (None, "", token[:-1], token + "x", secret.digests[0], "\ud800"):
        assert not secret.opens(wrong)
    for _ in range(MOST_TOKENS + 3):
        secret = secret.renewed()
    assert len(secret.digests) == MOST_TOKENS and not secret.opens(token) and secret.opens(secret.token)
