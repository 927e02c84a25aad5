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
from safa_server.control import Grant
from safa_server.limits import Limits
from safa_server.measuring.day.weather import BadDisk
from safa_server.security import Security
from safa_server.wire import to_json
from safa_stream.errors import ClusterError
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import AddLayer, Mix
from tests.cluster.rig import SECRET, Cluster, check, cluster, engine_client, engine_of, listen
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


@pytest.mark.parametrize("by_head", [True, False])
def test_of_two_engines_that_hold_a_session_one_speaks(
    tmp_path: Path, by_head: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine freezes, is given up, and wakes again; the head tells it, or it finds the other's claim on the disk."""
    monkeypatch.setattr("safa_server.cluster.engine.LOOK_SECONDS", 1000.0 if by_head else 1.0)

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
            if by_head:
                await up.head._join(name, frozen)
            async with asyncio.timeout(20):
                while session in frozen.engine.facts().sessions:
                    await asyncio.sleep(0.02)
            assert frozen.dropped == ([session] if by_head else [])
            heard.append(await listen(client, 1.0))
            sound = np.concatenate(heard, axis=1)
            assert client.lost == 0
            up.check(session, sound)

    run(test())


def test_an_engine_that_is_back_can_have_its_session_again(tmp_path: Path) -> None:
    """It was given up, lived on, and gets the session before it was told that it had lost it."""

    async def test() -> None:
        async with engine_of(tmp_path, "one") as first, engine_of(tmp_path, "two") as second:
            async with engine_client(first) as client:
                opened = await client.open("low", lead=2.0, ahead=2.0, pacing="pull")
                session, token = opened["session"], opened["token"]
                await client.send(Grant(samples=48_000))
                heard = [await listen(client, 0.5)]
            await second.adopt(session, 2, None)
            for engine, epoch in ((second, 2), (first, 3)):
                if engine is first:
                    await second.release(session)
                    await first.adopt(session, 3, None)
                assert engine.facts().sessions[session].epoch == epoch
                async with engine_client(engine) as client:
                    after = round(sum(part.shape[1] for part in heard) / 960) - 1
                    again = await client.join(session, token, control=True, from_=after)
                    assert again["resumed_from"] == after + 1
                    await client.send(Grant(samples=48_000))
                    heard.append(await listen(client, 0.5))
            check(tmp_path, session, np.concatenate(heard, axis=1))

    run(test())


def test_nothing_is_handed_on_of_an_engine_that_was_given_up(tmp_path: Path) -> None:
    """It was silent, nobody has its session yet, and it sends again."""

    async def test() -> None:
        async with cluster(tmp_path, patience=0.4) as up, SafaClient.connect(up.url) as client:
            session = (await client.open("low", lead=2.0, pacing="pull"))["session"]
            await client.send(Grant(samples=24_000))
            heard = [await listen(client, 0.5)]
            given_up = await up.port_of(session)
            other = next(port for port in up.ports.values() if port is not given_up)
            late, adopt = asyncio.Event(), other.adopt

            async def adopt_late(session_id: str, epoch: int, due: int | None) -> None:
                await late.wait()
                await adopt(session_id, epoch, due)

            other.adopt = adopt_late  # type: ignore[method-assign]
            given_up.frozen = True
            async with asyncio.timeout(20):
                while up.head.directory.sessions[session].epoch == 1:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(1.2)  # a front end asks after a second of silence
            await client.send(Grant(samples=48_000))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await anext(client)
            late.set()
            heard.append(await listen(client, 0.5))
            assert client.lost == 0 and client.resumed == 0
            up.check(session, np.concatenate(heard, axis=1))

    run(test())


def test_a_session_does_not_move_while_its_journal_waits_for_the_disk(tmp_path: Path) -> None:
    async def test() -> None:
        disk = BadDisk()
        async with cluster(tmp_path, disk=disk) as up, SafaClient.connect(up.url) as client:
            session = (await client.open("low", lead=2.0))["session"]
            heard = [await listen(client, 0.5)]
            before = await up.port_of(session)
            disk.full = True
            heard.append(await listen(client, 1.5))
            with pytest.raises(ClusterError, match="waits for the disk"):
                await up.head.move(session)
            assert await up.port_of(session) is before and before.engine.facts().sessions[session].epoch == 1
            heard.append(await listen(client, 0.5))
            disk.full = False
            await up.head.move(session)
            assert await up.port_of(session) is not before
            heard.append(await listen(client, 1.0))
            assert client.lost == 0
            up.check(session, np.concatenate(heard, axis=1))

    run(test())


def test_a_lost_session_waits_for_no_other(tmp_path: Path) -> None:
    """An engine that is asked to take one over does not answer; the other engine takes the next one meanwhile."""

    async def test() -> None:
        async with cluster(tmp_path, engines=3, patience=0.5) as up:
            async with SafaClient.connect(up.url) as one, SafaClient.connect(up.url) as two:
                sessions = [(await client.open("low", lead=2.0))["session"] for client in (one, two)]
                await listen(one, 0.5)
                await listen(two, 0.5)
                first, second = [await up.port_of(session) for session in sessions]
                assert first is not second
                third = next(port for port in up.ports.values() if port not in (first, second))
                asked = asyncio.Event()

                async def never(session_id: str, epoch: int, due: int | None) -> None:
                    asked.set()
                    await asyncio.sleep(1000)

                real, third.adopt = third.adopt, never  # type: ignore[method-assign]
                first.frozen = True
                await asyncio.wait_for(asked.wait(), 10)
                third.adopt = real  # type: ignore[method-assign]
                second.frozen = True
                began = asyncio.get_running_loop().time()
                async with asyncio.timeout(15):
                    await listen(two, 3.0)
                assert asyncio.get_running_loop().time() - began < 10, "nobody waited for the one that hangs"

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
