"""Sessions of a cluster in one process: they move, are taken over, and nobody hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from websockets.asyncio.client import connect

from safa_server.client import Refused, SafaClient
from safa_server.cluster.front import front_end
from safa_server.limits import Limits
from safa_server.security import Security
from safa_server.wire import to_json
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import AddLayer, Mix
from tests.cluster.rig import SECRET, Cluster, cluster, listen
from tests.server.ws_rig import run


def test_a_session_that_moves_sounds_like_one_that_stays(tmp_path: Path) -> None:
    async def test() -> None:
        async with cluster(tmp_path) as up, SafaClient.connect(up.url) as client:
            opened = await client.open("low", lead=2.0, ahead=2.0)
            session = opened["session"]
            heard = [await listen(client, 1.0)]
            for moves in range(2):
                before = await up.port_of(session)
                await up.head.move(session)
                assert await up.port_of(session) is not before
                await client.send(Mix(layer=0, gain=-3.0 * moves))
                heard.append(await listen(client, 1.0))
            sound = np.concatenate(heard, axis=1)
            assert client.lost == 0 and client.resumed == 0
            up.check(session, sound)

    run(test())


def test_of_two_engines_that_hold_a_session_one_speaks(tmp_path: Path) -> None:
    """An engine freezes, is given up, and wakes again."""

    async def test() -> None:
        async with cluster(tmp_path, patience=0.4) as up, SafaClient.connect(up.url) as client:
            session = (await client.open("low", lead=2.0, ahead=2.0))["session"]
            heard = [await listen(client, 1.0)]
            frozen = await up.port_of(session)
            frozen.frozen = True
            async with asyncio.timeout(20):
                while up.head.directory.sessions[session].epoch == 1 or await up.port_of(session) is frozen:
                    await asyncio.sleep(0.02)
            # It is still there and still sends; the front end does not listen to it any more.
            heard.append(await listen(client, 3.0))
            name = next(name for name, port in up.ports.items() if port is frozen)
            frozen.frozen = False
            await up.head._join(name, frozen)
            async with asyncio.timeout(20):
                while session not in frozen.dropped:
                    await asyncio.sleep(0.02)
            heard.append(await listen(client, 1.0))
            sound = np.concatenate(heard, axis=1)
            assert client.lost == 0
            up.check(session, sound)

    run(test())


def test_a_command_that_is_said_twice_is_done_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with cluster(tmp_path) as up, SafaClient.connect(up.url) as client:
            session = (await client.open("low", lead=2.0))["session"]
            async with connect(up.url, compression=None) as other:
                join = {"type": "join", "session": session, "token": client.opened["token"], "control": True}
                await other.send(json.dumps(join))
                command = {**to_json(AddLayer(prompts=parse_prompts("high"), seed=3)), "once": "mine.1"}
                first = await _asked(other, {**command, "id": 5})
                second = await _asked(other, {**command, "id": 6})
                assert first["command"] == second["command"]
                await up.head.move(session)
                # The engine that has it now knows of the command from the journal.
                third = await _asked(other, {**command, "id": 7})
                assert third["command"] == first["command"]
            assert len((await client.state())["layers"]) == 2

    run(test())


def test_commands_that_an_engine_takes_with_it_are_said_again(tmp_path: Path) -> None:
    """While a session changes hands its client's words wait, and are carried out in order."""

    async def test() -> None:
        async with cluster(tmp_path) as up, SafaClient.connect(up.url) as client:
            session = (await client.open("low", lead=2.0))["session"]
            moving = asyncio.create_task(up.head.move(session))
            said = [client.send(AddLayer(prompts=parse_prompts("high"), seed=seed)) for seed in range(3)]
            numbers = await asyncio.gather(*said)
            await moving
            assert len(set(numbers)) == 3
            assert len((await client.state())["layers"]) == 4

    run(test())


def test_another_front_end_goes_on_in_place_of_one_that_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        async with cluster(tmp_path) as up, contextlib.AsyncExitStack() as stack:
            front = front_end("127.0.0.1", 0, up.head, SECRET, up.security, Limits(), "second")
            port = await stack.enter_async_context(front)
            client = await stack.enter_async_context(SafaClient.connect(f"ws://127.0.0.1:{port}/ws"))
            session = (await client.open("low", lead=2.0))["session"]
            first = await listen(client, 1.0)
            assert client.last is not None
            last, token = client.last.sequence, client.opened["token"]
            await client._socket.close()
            async with SafaClient.connect(up.url) as again:
                await again.join(session, token, control=True, from_=last)
                second = await listen(again, 1.0)
                assert again.lost == 0
            sound = np.concatenate([first, second], axis=1)
            up.check(session, sound)

    run(test())


def test_who_may_do_what_is_asked_at_the_front_end(tmp_path: Path) -> None:
    async def test() -> None:
        security = Security.of("127.0.0.1", "token-of-the-server", listen_token="token-to-listen")
        async with cluster(tmp_path, security=security) as up:
            async with SafaClient.connect(up.url, "token-of-the-server") as client:
                opened = await client.open("low", lead=2.0)
                assert opened["guarded"] and opened["listen_token"] == "token-to-listen"
                session, own = opened["session"], opened["token"]
                for token, control, expected in (
                    ("wrong-token", False, "token"),
                    ("token-to-listen", False, None),
                    ("token-to-listen", True, "listen_only"),
                    (own, True, None),
                ):
                    assert await _joined(up, session, token, control) == expected, token
                # As at a single server: who shows no token of the server's learns nothing of what there is.
                assert await _joined(up, "never-was", own, True) == "token"
                assert await _joined(up, "never-was", "token-to-listen", True) == "no_session"
            # An engine's own port opens nothing to who has no pass of the cluster's.
            engine = next(iter(up.ports.values())).engine.url
            for token in (None, "token-of-the-server", f"{SECRET}.everything", SECRET):
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                with pytest.raises(Exception, match="401|token"):
                    async with connect(engine, additional_headers=headers) as socket:
                        await socket.send(json.dumps({"type": "open", "scene": "low", "id": 1}))
                        raise AssertionError((await _asked(socket, None))["reason"])

    run(test())


def test_pages_that_engines_have_come_through_the_front_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with cluster(tmp_path) as up, SafaClient.connect(up.url) as client:
            await client.open("low", lead=2.0)
            await listen(client, 0.5)
            base = up.url.replace("ws://", "http://").removesuffix("/ws")
            wanted = ('safa_sessions{engine="engine-1"}', 'safa_front_clients{front="front"} 1.0')
            async with asyncio.timeout(10):
                # They are counted anew now and then.
                text = ""
                while not all(one in text for one in wanted):
                    await asyncio.sleep(0.1)
                    text = await asyncio.to_thread(_fetched, f"{base}/metrics")
            assert (await asyncio.to_thread(_fetched, f"{base}/healthz")).strip() == "ok"
            with pytest.raises(Exception, match="404"):
                await asyncio.to_thread(_fetched, f"{base}/sessions/{client.opened['session']}/loops/none.wav")

    run(test())


def test_a_full_cluster_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with cluster(tmp_path, engines=1) as up, contextlib.AsyncExitStack() as stack:
            for _ in range(16):
                client = await stack.enter_async_context(SafaClient.connect(up.url))
                await client.open("low", lead=2.0)
            refused = await stack.enter_async_context(SafaClient.connect(up.url))
            with pytest.raises(Refused, match="no engine of this cluster has room") as caught:
                await refused.open("low", lead=2.0)
            assert caught.value.answer["code"] == "admission" and caught.value.answer["retry_after"] > 0

    run(test())


async def _asked(socket: Any, message: dict[str, Any] | None) -> dict[str, Any]:
    """The answer to a message with an id; what comes before it is left out."""
    if message is not None:
        await socket.send(json.dumps(message))
    while True:
        answer = await socket.recv()
        if isinstance(answer, str) and (message is None or json.loads(answer).get("id") == message["id"]):
            found: dict[str, Any] = json.loads(answer)
            return found


async def _joined(up: Cluster, session: str, token: str, control: bool) -> str | None:
    """The code with which joining is refused, None where it is not."""
    async with connect(up.url, compression=None) as socket:
        message = {"type": "join", "id": 1, "session": session, "token": token, "control": control}
        return (await _asked(socket, message)).get("code")


def _fetched(url: str) -> str:
    with urlopen(Request(url), timeout=10) as answer:
        text: str = answer.read().decode()
        return text
