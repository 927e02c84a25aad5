"""HTTP on the WebSocket's port, over real sockets: page, health, metrics, schema, loops; nothing outside its folder."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus

import safa_server
from safa_server.loops import header
from safa_server.principal import Principal
from safa_server.security import Security
from safa_server.websocket import Route
from tests.server.ws_rig import BLOCK, RATE, Rig, client, eventually, quiet_log, run, serving

TOKEN = "a-long-token"
Answer = tuple[int, dict[str, str], bytes]


async def fetch(rig: Rig, target: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
    """Status, headers (names in lower case) and body of one request, to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    lines = {"Host": f"127.0.0.1:{rig.port}", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    top, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = top.decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in rest)
    return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}, body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page, beside something that is not for everybody."""
    page = tmp_path / "web"
    (page / "parts").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>safa</title>")
    (page / "app.js").write_text("export {};\n")
    (page / "parts" / "style.css").write_text("body {}\n")
    (page / ".hidden.js").write_text("secret")
    (page / "notes.py").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    os.symlink(tmp_path / "secret.txt", page / "link.txt")
    return page


def test_the_page_and_its_types(folder: Path) -> None:
    async def test() -> None:
        async with serving(folder=folder) as rig:
            for target, kind in (
                ("/", "text/html; charset=utf-8"),
                ("/index.html", "text/html; charset=utf-8"),
                ("/app.js?version=2", "text/javascript; charset=utf-8"),
                ("/parts/style.css", "text/css; charset=utf-8"),
            ):
                status, headers, body = await fetch(rig, target)
                assert status == 200 and headers["content-type"] == kind and body
                assert int(headers["content-length"]) == len(body)
                assert headers["x-content-type-options"] == "nosniff"
                policy = headers["content-security-policy"]
                assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
                assert "script-src 'self';" in policy
                assert headers["referrer-policy"] == "no-referrer"

    with quiet_log():
        run(test())


def test_the_shipped_page_is_served() -> None:
    async def test() -> None:
        async with serving(folder=Path(safa_server.__file__).parent / "web") as rig:
            status, _, body = await fetch(rig, "/")
            assert status == 200 and b"<html" in body
            assert (await fetch(rig, "/safa.js"))[1]["content-type"].startswith("text/javascript")

    run(test())


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/parts/../../secret.txt",
        "/parts/..%5c..%5csecret.txt",
        "//etc/passwd",
        "/%00",
        "/app.js%00.html",
        "/link.txt",
        "/.hidden.js",
        "/notes.py",
        "/parts",
        "/parts/",
        "/nothing.html",
        "/" + "a" * 4000 + ".js",
        "/ws",
        "/sessions",
        "/osc",
    ],
)
def test_nothing_else_is_served(folder: Path, target: str) -> None:
    async def test() -> None:
        async with serving(folder=folder) as rig:
            status, headers, body = await fetch(rig, target)
            assert status == 404 and b"secret" not in body and headers["content-type"].startswith("text/plain")

    with quiet_log():
        run(test())


def test_health_and_readiness() -> None:
    async def test() -> None:
        async with serving() as rig:
            assert (await fetch(rig, "/healthz"))[::2] == (200, b"ok\n")
            status, _, body = await fetch(rig, "/readyz")
            assert status == 200 and json.loads(body) == {"ready": True, "sessions": 0}
            await rig.stations.drain()
            status, _, body = await fetch(rig, "/readyz")
            assert status == 503 and not json.loads(body)["ready"]
            assert (await fetch(rig, "/healthz"))[0] == 200

    run(test())


def test_methods() -> None:
    async def test() -> None:
        async with serving() as rig:
            status, headers, body = await fetch(rig, "/healthz", "HEAD")
            assert (status, headers["content-length"], body) == (200, "3", b"")
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                status, headers, _ = await fetch(rig, "/healthz", method)
                assert (status, headers["allow"]) == (405, "GET, HEAD")

    with quiet_log():
        run(test())


def test_metrics_and_schema() -> None:
    async def test() -> None:
        async with serving() as rig, client(rig) as one:
            await one.ask("open", scene="low")
            await one.hear(5)
            status, headers, body = await fetch(rig, "/metrics")
            assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
            samples = [one for family in text_string_to_metric_families(body.decode()) for one in family.samples]
            values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
            assert values["safa_connections",] == 1 and values["safa_listeners",] == 1
            assert values["safa_frames_sent_total",] >= 5
            assert values["safa_encode_seconds_recent", "0.95"] > 0
            schema = json.loads((await fetch(rig, "/protocol.json"))[2])
            assert schema["asyncapi"].startswith("3.") and "client.prompt" in schema["components"]["messages"]

    with quiet_log():
        run(test())


def test_the_table_of_osc_addresses() -> None:
    async def test() -> None:
        async with serving(osc=lambda form: f"<p>{form}" if form == "html" else '{"as": "json"}') as rig:
            status, headers, body = await fetch(rig, "/osc")
            assert (status, json.loads(body)) == (200, {"as": "json"})
            status, headers, body = await fetch(rig, "/osc", headers={"Accept": "text/html,*/*"})
            assert headers["content-type"].startswith("text/html") and body == b"<p>html"

    run(test())


def test_tokens() -> None:
    async def test() -> None:
        async with serving(security=Security.of("0.0.0.0", TOKEN)) as rig:
            for target in ("/metrics", "/protocol.json", "/osc", "/rtp.sdp", "/sessions/x/loops/y.wav"):
                status, headers, _ = await fetch(rig, target)
                assert (status, headers["www-authenticate"]) == (401, "Bearer")
                assert (await fetch(rig, f"{target}?token=wrong-token"))[0] == 401
            assert (await fetch(rig, f"/metrics?token={TOKEN}"))[0] == 200
            assert (await fetch(rig, f"/rtp.sdp?token={TOKEN}"))[0] == 404, "this server sends no RTP"
            assert (await fetch(rig, "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}))[0] == 200
            assert (await fetch(rig, "/metrics", headers={"Authorization": "Basic abc"}))[0] == 401
            assert (await fetch(rig, "/healthz"))[0] == 200

    with quiet_log():
        run(test())


def test_a_loop_can_be_downloaded() -> None:
    async def test() -> None:
        async with serving(security=Security.of("0.0.0.0", TOKEN)) as rig, client(rig) as one:
            opened = await one.ask("open", scene="low", pacing="pull", token=TOKEN)
            await one.ask("grant", samples=450 * BLOCK)
            await one.hear(450)
            await one.ask("loop.capture", seconds=8.0)
            ready = await one.until(lambda text: text["type"] == "loop.ready")
            path = f"/sessions/{opened['session']}/loops/{ready['loop']}.wav"
            status, headers, body = await fetch(rig, f"{path}?token={opened['token']}")
            assert status == 200 and headers["content-type"] == "audio/wav"
            assert headers["content-disposition"].startswith('attachment; filename="loop-')
            sound, rate = soundfile.read(io.BytesIO(body), dtype="float32")
            station = rig.stations.find(opened["session"])
            assert station is not None and rate == RATE
            assert sound.shape == (round(ready["seconds"] * RATE), 2) and np.abs(sound).max() > 0
            assert station.loop(ready["loop"]) == body
            assert (await fetch(rig, f"{path}?token={TOKEN}"))[2] == body
            assert (await fetch(rig, path))[0] == 401
            assert (await fetch(rig, f"{path}x?token={TOKEN}"))[0] == 404
            assert (await fetch(rig, f"{path.replace('.wav', '')}/../x.wav?token={TOKEN}"))[0] == 404

    with quiet_log():
        run(test())


def test_a_slow_reader_gets_all_of_a_large_file(folder: Path) -> None:
    async def test() -> None:
        content = os.urandom(6_000_000)
        (folder / "large.png").write_bytes(content)
        async with serving(folder=folder) as rig, client(rig) as one:
            await one.ask("open", scene="low")
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=16_384)
            writer.write(b"GET /large.png HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await asyncio.sleep(2.5)
            got = await reader.read()
            assert got.partition(b"\r\n\r\n")[2] == content
            writer.close()
            await writer.wait_closed()
            await one.hear(100)
            assert one.frames[-1][0].sequence == len(one.frames) - 1

    with quiet_log():
        run(test())


def test_a_wav_file_is_what_others_read() -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (1001, 2)).astype("<f4")
    file = header(2, 1001, 44_100) + sound.tobytes()
    back, rate = soundfile.read(io.BytesIO(file), dtype="float32")
    assert rate == 44_100 and np.array_equal(back, sound)
    about = soundfile.info(io.BytesIO(file))
    assert (about.subtype, about.format, about.channels) == ("FLOAT", "WAV", 2)


def test_other_protocols_have_their_own_paths() -> None:
    async def test() -> None:
        async def echo(connection: ServerConnection, who: Principal) -> None:
            async for message in connection:
                await connection.send(message)

        route = Route(lambda path: path == "/other", echo, lambda request: request.query.get("key"))
        async with serving(security=Security.of("0.0.0.0", TOKEN), routes=[route]) as rig:
            base = f"ws://127.0.0.1:{rig.port}"
            async with connect(f"{base}/other?key={TOKEN}") as socket:
                await socket.send("hello")
                assert await socket.recv() == "hello"
            for wrong in ("/other", "/other?key=wrong-token"):
                with pytest.raises(InvalidStatus) as caught:
                    await connect(base + wrong)
                assert caught.value.response.status_code == 401
            with pytest.raises(InvalidStatus) as caught:
                await connect(f"{base}/third?token={TOKEN}")
            assert caught.value.response.status_code == 404
            await eventually(lambda: not rig.front.sockets)

    with quiet_log():
        run(test())
