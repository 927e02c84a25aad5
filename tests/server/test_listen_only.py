"""The listen token over real sockets: who has it hears sessions, opens and steers none, and learns no other secret."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus

from safa_server import security
from safa_server.address import Address
from safa_server.header import samples
from safa_server.principal import Access, Principal
from safa_server.security import Security
from safa_server.settings import read_settings
from safa_server.websocket import Route
from safa_server.wire import REQUESTS
from safa_stream.errors import UsageError
from tests.server.test_http import fetch
from tests.server.ws_rig import BLOCK, Raw, Rig, client, eventually, quiet_log, run, serving

TOKEN, LISTEN = "the-whole-token", "only-for-the-ears"
GUARDED = Security.of("0.0.0.0", TOKEN, listen_token=LISTEN)
AS_LISTENER = {"additional_headers": {"Authorization": f"Bearer {LISTEN}"}}

#: Every message that a client may say, as it would be understood. The test below holds the table to the protocol.
MESSAGES: dict[str, dict[str, Any]] = {
    "prompt": {"prompts": "high"},
    "layer.add": {"prompts": "high"},
    "layer.remove": {"layer": 0},
    "mix": {"layer": 0, "gain": -6},
    "configure": {"steps": 3},
    "reseed": {"seed": 7},
    "reanchor": {},
    "freeze": {},
    "rewind": {"to": 0},
    "loop.capture": {"seconds": 8},
    "scene.save": {"scene": "mine"},
    "scene.recall": {"scene": "kept"},
    "tempo": {"bpm": 90},
    "open": {"scene": "low"},
    "join": {"session": "?"},
    "ack": {"sequence": 3},
    "grant": {"samples": BLOCK},
    "play": {},
    "pause": {},
    "ping": {"client_clock": 1.5},
    "playhead": {"position": 960},
    "state": {},
    "provenance": {"number": 1},
    "close": {},
}
#: What concerns nobody but the listener.
HARMLESS = {"ack": "done", "ping": "pong", "playhead": "done", "state": "state", "provenance": "provenance"}


@asynccontextmanager
async def heard(pacing: str = "live") -> AsyncIterator[tuple[Rig, Raw, dict[str, Any], Raw]]:
    """A guarded server, the client that opened a session there, what it was answered, and one that may only listen."""
    async with serving(security=GUARDED) as rig, client(rig) as owner, client(rig, **AS_LISTENER) as guest:
        opened = await owner.ask("open", scene="low", pacing=pacing, token=TOKEN)
        yield rig, owner, opened, guest


def settled(state: dict[str, Any]) -> dict[str, Any]:
    """A state without what moves on by itself or tells of the listeners."""
    told = {key: state[key] for key in ("pacing", "playing", "frozen", "steps")}
    strips = [(layer["prompts"], layer["gain"], layer["seed"]) for layer in state["layers"]]
    return told | {"layers": strips, "master": state["master"]["gain"]}


def test_the_listen_token_hears_a_session() -> None:
    async def test() -> None:
        async with heard() as (rig, owner, opened, guest), client(rig) as second:
            joined = await guest.ask("join", session=opened["session"])
            # The token may come with the first message as well.
            other = await second.ask("join", session=opened["session"], token=LISTEN)
            for answer in (joined, other):
                assert (answer["type"], answer["control"], answer["token"]) == ("opened", False, None)
                assert answer["guarded"] and answer["listen_token"] == LISTEN
            frames = {head.sequence: payload for head, payload, _ in await guest.hear(15)}
            await owner.hear(max(frames) + 1)
            same = {head.sequence: payload for head, payload, _ in owner.frames}
            assert all(same[number] == payload for number, payload in frames.items())
            assert np.abs(samples(*guest.frames[10][:2])).max() > 1e-4
            for type, answer in HARMLESS.items():
                assert (await guest.ask(type, **MESSAGES[type]))["type"] == answer, type
            await owner.ask("mix", layer=0, gain=-3)
            await guest.until(lambda text: text["type"] == "applied")

    with quiet_log():
        run(test())


def test_the_table_of_this_test_is_the_protocol_s() -> None:
    assert set(MESSAGES) == set(REQUESTS)


@pytest.mark.parametrize("pacing", ["live", "pull"])
def test_whatever_steers_is_refused_by_id_and_changes_nothing(pacing: str) -> None:
    async def test() -> None:
        async with heard(pacing) as (rig, owner, opened, guest):
            await owner.ask("scene.save", scene="kept")
            steering = [name for name in MESSAGES if name not in {*HARMLESS, "join", "close"}]
            assert {"prompt", "mix", "open", "grant", "play", "pause"} < set(steering)
            before = settled((await owner.ask("state"))["state"])
            # Before it has a session, and while it hears one.
            for number in (1, 2):
                for type in steering:
                    refused = await guest.ask(type, **MESSAGES[type])
                    assert (refused["type"], refused["code"], refused["id"]) == ("error", "listen_only", 77), type
                    assert "only listens" in refused["reason"]
                if number == 1:
                    await guest.ask("join", session=opened["session"])
            asked = await owner.ask("state")
            assert settled(asked["state"]) == before and len(rig.stations.all()) == 1
            assert pacing == "live" or asked["state"]["position"] == 0
            assert not [text for text in guest.texts if text["type"] in ("applied", "loop.ready", "scene.saved")]
            wanted = 2 * len(steering)
            assert rig.metrics.value("safa_messages_refused_total", code="listen_only") == wanted
            # It was refused, not thrown out.
            if pacing == "pull":
                await owner.ask("grant", samples=10 * BLOCK)
            await guest.hear(len(guest.frames) + 5)

    with quiet_log():
        run(test())


def test_it_leaves_and_the_session_stays() -> None:
    async def test() -> None:
        async with heard() as (rig, owner, opened, guest):
            await guest.ask("join", session=opened["session"])
            assert (await guest.ask("close"))["type"] == "done"
            await guest.socket.wait_closed()
            assert (await owner.ask("mix", layer=0, gain=-1))["type"] == "done" and len(rig.stations.all()) == 1

    with quiet_log():
        run(test())


def test_control_takes_the_session_s_own_token() -> None:
    async def test() -> None:
        async with heard() as (rig, _, opened, guest), client(rig) as second:
            for one, token in ((guest, None), (guest, "wrong-token"), (second, LISTEN)):
                refused = await one.ask("join", session=opened["session"], token=token, control=True)
                assert (refused["code"], refused["field"]) == ("listen_only", "token")
            for kind in ("open", "join"):
                refused = await second.ask(kind, **{**MESSAGES[kind], "token": LISTEN})
                assert refused["code"] == ("listen_only" if kind == "open" else "no_session")
            # Who was given that beside it may steer, that session only.
            joined = await guest.ask("join", session=opened["session"], token=opened["token"], control=True)
            assert joined["control"] and joined["token"] == opened["token"]
            assert (await guest.ask("mix", layer=0, gain=-2))["type"] == "done"
            assert (await guest.ask("open", scene="low", token=TOKEN))["code"] == "already_open"
            # A token that is neither is no more than none.
            async with client(rig) as third:
                assert (await third.ask("join", session=opened["session"], token=LISTEN + "x"))["code"] == "token"
                await third.socket.wait_closed()
                assert third.socket.close_code == 1008

    with quiet_log():
        run(test())


def test_nothing_that_a_listener_is_told_holds_another_secret() -> None:
    async def test() -> None:
        async with heard("pull") as (rig, owner, opened, guest):
            await guest.ask("join", session=opened["session"])
            await owner.ask("grant", samples=450 * BLOCK)
            for type, fields in MESSAGES.items():
                if type not in ("open", "join", "grant", "close", "pause", "rewind", "layer.remove", "loop.capture"):
                    await owner.ask(type, **fields)
            await owner.ask("layer.add", prompts="high", layer=1)
            await owner.ask("layer.remove", layer=1, ramp=0)
            await owner.hear(430)
            await owner.ask("loop.capture", seconds=8)
            ready = await guest.until(lambda text: text["type"] == "loop.ready")
            for type, fields in MESSAGES.items():
                if type != "close":
                    await guest.ask(type, **fields)
            address = f"/sessions/{opened['session']}/loops/{ready['loop']}.wav"
            fetched = [
                await fetch(rig, f"{path}?token={LISTEN}") for path in ("/", "/readyz", "/protocol.json", address)
            ]
            await guest.ask("close")
            told = json.dumps(guest.texts) + "".join(f"{headers}{body!r}" for _, headers, body in fetched)
            told += "".join(repr(message) for _, _, message in guest.frames)
            seen = {text["type"] for text in guest.texts}
            assert {"opened", "state", "provenance", "applied", "view", "scene.saved", "loop.ready", "error"} <= seen
            assert LISTEN in told and TOKEN not in told and opened["token"] not in told

    with quiet_log():
        run(test())


def test_what_may_be_fetched() -> None:
    async def test() -> None:
        async def nobody(connection: ServerConnection, who: Principal) -> None:
            raise AssertionError("a listener came in")

        route = Route(lambda path: path == "/other", nobody, lambda request: request.query.get("key"))
        async with serving(security=GUARDED, routes=[route], osc=lambda form: "{}") as rig, client(rig) as owner:
            opened = await owner.ask("open", scene="low", pacing="pull", token=TOKEN)
            await owner.ask("grant", samples=450 * BLOCK)
            await owner.hear(430)
            await owner.ask("loop.capture", seconds=8)
            ready = await owner.until(lambda text: text["type"] == "loop.ready")
            loop = f"/sessions/{opened['session']}/loops/{ready['loop']}.wav"
            for path, status in (("/protocol.json", 200), (loop, 200), ("/metrics", 403), ("/osc", 403)):
                assert (await fetch(rig, f"{path}?token={LISTEN}"))[0] == status, path
                assert (await fetch(rig, path, headers={"Authorization": f"Bearer {LISTEN}"}))[0] == status, path
                assert (await fetch(rig, f"{path}?token={TOKEN}"))[0] == 200, path
                assert (await fetch(rig, path))[0] == 401, path
            # Other protocols on the port steer, so their doors stay shut.
            for asked in (f"/other?key={LISTEN}", f"/other?token={LISTEN}"):
                with pytest.raises(InvalidStatus) as caught:
                    await connect(f"ws://127.0.0.1:{rig.port}{asked}")
                assert caught.value.response.status_code == 403
            await eventually(lambda: len(rig.front.sockets) == 1)

    with quiet_log():
        run(test())


def test_both_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def watched(given: bytes, secret: bytes) -> bool:
        compared.append(secret)
        return hmac.compare_digest(given, secret)

    monkeypatch.setattr(security, "hmac", type("Watched", (), {"compare_digest": staticmethod(watched)}))
    rights = {
        TOKEN: Access.ALL,
        LISTEN: Access.LISTEN,
        LISTEN[:-1]: Access.NONE,
        "": Access.NONE,
        "\ud800": Access.NONE,
    }
    for given, access in rights.items():
        compared.clear()
        assert GUARDED.who(given).access is access and GUARDED.who(given).operates is (access is Access.ALL)
        if given and access is not Access.ALL:
            assert {TOKEN.encode(), LISTEN.encode()} <= set(compared)
    assert GUARDED.who(None).access is Access.NONE
    # Without a listen token nothing is one, and without a token everybody may all.
    assert Security.of("0.0.0.0", TOKEN).who(LISTEN).access is Access.NONE
    assert Security.of("127.0.0.1").who(None).access is Access.ALL


@pytest.mark.parametrize(
    ("host", "token", "listen", "said"),
    [
        ("0.0.0.0", TOKEN, TOKEN, "token and listen token must differ"),
        ("127.0.0.1", TOKEN, TOKEN, "token and listen token must differ"),
        ("127.0.0.1", None, LISTEN, "a listen token needs a token beside it"),
        ("0.0.0.0", None, LISTEN, "set a token, or bind to 127.0.0.1"),
        ("127.0.0.1", TOKEN, "short", "the listen token must have at least 8 characters"),
        ("127.0.0.1", TOKEN, "", "the listen token must have at least 8 characters"),
        ("127.0.0.1", TOKEN, "with\nlines", "the listen token must have at least 8 characters"),
    ],
)
def test_tokens_that_make_no_sense_are_named(host: str, token: str | None, listen: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Security.of(host, token, listen_token=listen)


def test_it_is_set_like_the_other_settings(tmp_path: Path) -> None:
    file = tmp_path / "safa.toml"
    file.write_text(f'token = "{TOKEN}"\nlisten_token = "of-the-file"\n')
    assert read_settings({}, {}, file).listen_token == "of-the-file"
    named = {"SAFA_LISTEN_TOKEN": "of-the-environment"}
    assert read_settings({}, named, file).listen_token == "of-the-environment"
    assert read_settings({"listen_token": LISTEN}, named, file).listen_token == LISTEN
    assert read_settings({}, {}, None).listen_token is None


def test_the_server_tells_where_to_listen() -> None:
    up = {"host": "::1", "port": 8600, "osc_port": None, "osc_tcp_port": None, "oscquery_port": None, "tls": True}
    full = Address(**up, token=TOKEN, session="S", session_token="of-the-session", listen_token="a+b&c=d-e")
    assert full.listen_url == "https://[::1]:8600/#session=S&token=a%2Bb%26c%3Dd-e"
    assert full.url == "https://[::1]:8600/#session=S&token=of-the-session&control=1"
    assert full.ready_file()["listen_url"] == full.listen_url and full.ready_file()["listen_token"] == "a+b&c=d-e"
    bare = Address(**up, token=TOKEN)
    assert bare.listen_url is None and bare.url == f"https://[::1]:8600/#token={TOKEN}"
    assert Address(**up, token=TOKEN, listen_token=LISTEN).listen_url is None, "there is no session to hear yet"
    assert Address(**up, token=None).url == "https://[::1]:8600/"
