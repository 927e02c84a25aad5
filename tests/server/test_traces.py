"""Traces: of a real server with the built-in model, as a collector on a real socket gets them."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from socket import AF_INET, SOCK_DGRAM, socket
from typing import Any
from urllib.request import urlopen

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from safa_server.address import Address
from safa_server.client import SafaClient
from safa_server.live import Live
from safa_server.measuring.twins import DIFFERENT, Twin, next_frame
from safa_server.serve import serve
from safa_server.settings import Settings
from safa_server.telemetry import tracing
from safa_server.telemetry.journeys import Journeys
from safa_server.telemetry.observer import Origin
from safa_server.telemetry.recorder import Recorder
from safa_server.telemetry.traceparent import Traceparent
from safa_stream.errors import UsageError
from safa_stream.scene import parse_prompts
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.messages import Mix, Prompt
from safa_stream.session.session import Session
from safa_stream.stream import step_views
from tests.server import ws_rig
from tests.server.collector import Collector, Told, collecting
from tests.server.osc_rig import packet

GAME = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#: Both ends are on one machine, but read two clocks that differ by what reading takes.
CLOCKS = 2_000_000
SCENE = LiveScene((LayerScene(0, parse_prompts("rain"), seed=3),)).as_dict()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")


@asynccontextmanager
async def served(**given: Any) -> AsyncIterator[Address]:
    """`serve` in this process until the context is left."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings = Settings(port=0, osc_port=0, announce=False, drain_seconds=0.1, **given)
    serving = asyncio.create_task(serve(settings, ready.set_result, stop))
    done, _ = await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    assert ready in done, serving.exception()
    try:
        yield ready.result()
    finally:
        stop.set()
        await serving


def url(address: Address) -> str:
    return f"ws://127.0.0.1:{address.port}/ws"


def named(spans: list[Told], name: str, **attributes: Any) -> list[Told]:
    wanted = {f"safa.{key}": value for key, value in attributes.items()}
    return [span for span in spans if span.name == name and wanted.items() <= span.attributes.items()]


def below(spans: list[Told], parent: Told, name: str) -> Told:
    """The one span of a name in another; views that were thrown away do not count."""
    named = [span for span in spans if span.parent == parent.id and span.name == name]
    (found,) = [span for span in named if not span.attributes.get("safa.dropped", False)]
    return found


async def heard_change(client: SafaClient, twin: Twin, trace: str) -> tuple[int, int, int]:
    """(sent, arrived, sequence): a change of the prompt, now, and the first frame that is not the twin's."""
    import numpy as np

    sent = time.time_ns()
    command = Prompt(prompts=parse_prompts("campfire, birds"), morph=0.0, now=True)
    sending = asyncio.create_task(client.send(command, trace))
    while True:
        frame = await next_frame(client)
        arrived = time.time_ns()
        if float(np.abs(frame.samples() - await twin.at(frame.header.start)).max()) > DIFFERENT:
            await sending
            return sent, arrived, frame.header.sequence


def test_a_change_is_one_trace_from_the_game_to_the_socket() -> None:
    """What the spans say is what the client measures from sending to hearing."""

    async def listen(collector: Collector) -> tuple[int, int, int]:
        async with served(trace=collector.url) as address, SafaClient.connect(url(address)) as twins:
            twin = Twin(twins)
            await twin.open(SCENE, 8.0)
            async with SafaClient.connect(url(address)) as client:
                await client.open(SCENE)
                for _ in range(40):
                    frame = await next_frame(client)
                    await twin.at(frame.header.start)
                return await heard_change(client, twin, GAME)

    with collecting() as collector:
        sent, arrived, sequence = asyncio.run(listen(collector))
        spans = collector.spans
    (command,) = named(spans, "command prompt", door="websocket")
    assert f"00-{command.trace}-{command.parent}-01" == GAME and command.kind == 2
    view = below(spans, command, "view")
    waiting, steps, decode, block = (below(spans, view, one) for one in ("waiting", "steps", "decode", "block"))
    write = below(spans, block, "write")
    assert {one.trace for one in (view, waiting, steps, decode, block, write)} == {command.trace}
    assert {one.service for one in spans} == {"safa-stream"}

    # One after the other, with nothing between them, within what the client saw.
    assert sent - CLOCKS <= command.begin <= command.end <= view.begin + CLOCKS
    assert view.begin == waiting.begin and waiting.end == steps.begin and steps.end <= decode.begin + CLOCKS
    assert decode.end == view.end == block.begin and block.end <= write.begin + CLOCKS
    assert write.end <= arrived + CLOCKS
    # The first block that the server says carries it is the first frame that sounds otherwise.
    assert 0 <= sequence - block.attributes["safa.block"] <= 1
    # What no span covers is the client's own, and the network's.
    assert write.end - command.begin > 0.5 * (arrived - sent)

    levels, rows = steps.attributes["safa.noise_levels"], steps.attributes["safa.batch.rows"]
    assert view.attributes["safa.steps"] == len(levels) == len(rows) and levels == sorted(levels, reverse=True)
    assert min(rows) >= 1 and view.attributes["safa.aim"] == "cut" and not view.attributes["safa.dropped"]
    assert 0 < sum(steps.attributes["safa.step.seconds"]) <= (steps.end - steps.begin) / 1e9 + 1e-3
    assert write.attributes["safa.listeners"] == write.attributes["safa.frames"] == 1
    assert write.attributes["safa.bytes"] > 960 * 2 * 4

    # The session's first view answers `open`; the next nobody asked for, and its link says what it was told by.
    opened = [span for span in named(spans, "command open") if below(spans, span, "view")]
    assert len(opened) == 2
    later = [span for span in named(spans, "view", view=1) if not span.parent]
    assert later and all((span.links[0][0] in {one.trace for one in opened}) for span in later)


def test_a_gain_needs_no_view_and_osc_is_a_door_as_well() -> None:
    async def listen(collector: Collector) -> None:
        async with served(trace=f"{collector.url}/v1/traces", prompt="rain") as address:
            assert address.session is not None
            async with SafaClient.connect(url(address)) as client:
                await client.join(address.session, address.session_token, control=True)
                await next_frame(client)
                await client.send(Mix(layer=0, gain=-6.0))
                with socket(AF_INET, SOCK_DGRAM) as fader:
                    fader.sendto(packet("/safa/layer/0/gain", -3.0), ("127.0.0.1", address.osc_port))
                await asyncio.to_thread(collector.wait, lambda spans: len(named(spans, "write")) >= 2)

    with collecting() as collector:
        asyncio.run(listen(collector))
        assert set(collector.paths) == {"/v1/traces"}
        for door in ("websocket", "osc"):
            (command,) = named(collector.spans, "command mix", door=door)
            block = below(collector.spans, command, "block")
            assert below(collector.spans, block, "write").attributes["safa.listeners"] == 1
            assert block.attributes["safa.sample"] < block.attributes["safa.block.start"] + 960
            assert not command.parent


def test_ratio_and_variables_and_the_handshakes_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ratio of 0 only what a client records is recorded; a client that does not record is left out, too."""
    unsampled = GAME.replace("4bf9", "5bf9")[:-2] + "00"

    async def listen() -> None:
        import websockets.asyncio.client as ws

        from safa_server.control import Open
        from safa_server.wire import write

        async with served(trace="otel", trace_ratio=0.0) as address:
            for trace in (GAME, unsampled, "nonsense"):
                headers = {"traceparent": trace}
                async with ws.connect(url(address), additional_headers=headers, subprotocols=["safa.v1"]) as socket:
                    await socket.send(write(Open(scene="rain"), 1))
                    while isinstance(await socket.recv(), str):
                        pass
            await asyncio.to_thread(collector.wait, lambda spans: named(spans, "write"))

    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "forest")
        asyncio.run(listen())
    assert {span.trace for span in collector.spans} == {GAME.split("-")[1]}
    assert {span.service for span in collector.spans} == {"forest"}
    assert all(headers.get("Api-Key", headers.get("api-key")) == "secret" for headers in collector.headers)


def test_what_is_superseded_and_what_waits_is_followed_to_its_block() -> None:
    """A prompt whose view another one throws away, one that waits for its time, a layer that is new."""
    spans, recorder = in_memory()
    recorder.start()

    def of(name: str, number: int) -> list[Any]:
        """Spans of a name in the trace of a command."""
        (command,) = [one for one in spans.get_finished_spans() if one.attributes.get("safa.command.number") == number]
        trace = command.context.trace_id
        return [one for one in spans.get_finished_spans() if one.name == name and one.context.trace_id == trace]

    async def listen() -> None:
        async with ws_rig.serving(observer=recorder) as rig, ws_rig.client(rig) as client:
            opened = await client.ask("open", scene="rain")
            await client.hear(10)
            at = client.frames[-1][0].start + 48_000 * 2
            first = await client.ask("prompt", prompts="birds", now=True, morph=0)
            second = await client.ask("prompt", prompts="wind", now=True, morph=0)
            waits = await client.ask("prompt", prompts="fire", at=at, morph=0)
            added = await client.ask("layer.add", prompts="birds")
            numbers.extend(one["command"] for one in (first, second, waits, added))
            numbers.append(at + opened["state"]["delay"])
            while client.frames[-1][0].start < at + 9_600:
                await client.read()

    numbers: list[int] = []
    ws_rig.run(listen())
    recorder.stop()
    first, second, waits, added, heard = numbers
    view = [one for one in of("view", second) if not one.attributes["safa.dropped"]][-1]
    assert view.attributes["safa.aim"] == "cut"
    # The first prompt's own view was dropped, or it was not begun yet: then the second's answers both.
    linked = {link.context.span_id for link in view.links}
    (asked,) = of("command prompt", first)
    dropped = [one for one in of("view", first) if one.attributes["safa.dropped"]]
    done = [one for one in of("view", first) if not one.attributes["safa.dropped"]]
    assert done or asked.context.span_id in linked, (dropped, linked)
    block = of("block", waits)[-1]
    sample = block.attributes["safa.sample"]
    assert abs(sample - heard) <= 960, "the nearest frame of 40 ms"
    assert block.attributes["safa.block.start"] <= sample < block.attributes["safa.block.start"] + 960
    new = of("view", added)[-1]
    assert new.attributes["safa.view"] == 0 and new.attributes["safa.layer"] == 1
    for number in (second, waits, added):
        assert len(of("write", number)) == len(of("block", number)) >= 1
    assert recorder.lost == 0


def test_a_view_that_was_begun_before_a_command_does_not_answer_it() -> None:
    spans, recorder = in_memory()
    model = ws_rig.toy_48k()
    live = Live(Session.begin(model, LiveScene.from_value("rain")), 8.0, True)
    live.name = "one"
    command = Prompt(prompts=parse_prompts("birds"))

    def view(meanwhile: Callable[[], None]) -> None:
        with live.lock:
            work = live.session.start(0)
            recorder.began(live, work)
        meanwhile()
        while not work.view.done:
            step_views(model, [work.view])
            recorder.stepped([work], 1, 0.001)
        made = live.session.complete(work.finish())
        recorder.decoded(live, work, 0.001, None if made is None else made.start)

    def ask() -> None:
        with live.lock:
            recorder.took(live, command, live.session.receive(command), None)

    view(lambda: recorder.opened(live, Origin("osc", time.monotonic_ns())))
    view(ask)
    view(lambda: None)
    recorder.start()
    recorder.stop()
    told = spans.get_finished_spans()
    opened, asked = ([one for one in told if one.name == f"command {name}"][0] for name in ("open", "prompt"))
    first, before, after = (one for one in told if one.name == "view")
    assert first.parent.span_id == opened.context.span_id and after.parent.span_id == asked.context.span_id
    assert before.parent is None and before.links[0].context.span_id == opened.context.span_id
    assert [one.attributes["safa.view"] for one in (first, before, after)] == [0, 1, 2]
    assert recorder.lost == 0


def in_memory() -> tuple[InMemorySpanExporter, Recorder]:
    """A recorder whose spans are kept here."""
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return spans, Recorder(Journeys(provider.get_tracer("test")).take)


def test_traceparents() -> None:
    assert str(Traceparent.read(GAME)) == GAME
    assert Traceparent.read("cc" + GAME[2:] + "-what comes later") == Traceparent.read(GAME)
    chance = random.Random(0)
    for _ in range(100):
        one = Traceparent(chance.getrandbits(128) or 1, chance.getrandbits(64) or 1, chance.random() < 0.5)
        assert Traceparent.read(str(one)) == one
    zero = f"00-{'0' * 32}-{'1' * 16}-01"
    for wrong in ("", GAME.upper(), GAME[:-1], GAME + "-x", "ff" + GAME[2:], zero, zero[::-1], GAME + "\n", "x" * 999):
        assert Traceparent.read(wrong) is None, wrong


def test_what_cannot_be_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("collector", "ftp://x", "http://", "http://[", ""):
        with pytest.raises(UsageError, match="setting 'trace' must be a URL such as"):
            Settings(trace=wrong)
    for settings in ({"trace": "otel", "trace_ratio": 1.5}, {"trace_ratio": 0.5}):
        with pytest.raises(UsageError, match="trace_ratio"):
            Settings(**settings)
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UsageError, match=r"pip install 'safa-stream\[telemetry\]'"):
        asyncio.run(serve(Settings(port=0, osc_port=-1, trace="http://127.0.0.1:1"), lambda address: None))


def test_a_collector_that_is_away_costs_a_line_and_no_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sound goes on, the server ends when it is told to, what was lost is counted; the same with one that hangs."""

    async def listen(collector: Collector) -> tuple[float, float]:
        async with served(trace=collector.url, prompt="rain") as address, SafaClient.connect(url(address)) as client:
            await client.join(address.session, address.session_token, control=True)
            for number in range(50):
                frame = await next_frame(client)
                await client.send(Mix(layer=0, gain=-number / 10))
            lost = await asyncio.to_thread(lost_at, address)
            collector.slow = 30.0
            await client.send(Mix(layer=0, gain=0.0))
            assert frame.lost == client.lost == 0
            began = time.monotonic()
        return lost, time.monotonic() - began

    def lost_at(address: Address) -> float:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with urlopen(f"http://127.0.0.1:{address.port}/metrics") as answer:
                found = re.search(r"^safa_trace_lost_total (\S+)$", answer.read().decode(), re.MULTILINE)
            if found and float(found[1]):
                break
            time.sleep(0.1)
        return float(found[1])

    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 1.0)
    with collecting() as collector:
        collector.status = 400
        lost, ended = asyncio.run(listen(collector))
        assert lost > 0 and ended < 8, "a collector that does not answer keeps nobody from ending"
    told = [record.getMessage() for record in caplog.records if record.name == "safa_server.telemetry"]
    assert told == [f"{collector.url}/v1/traces takes no traces; they are lost until it does"]
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


def test_facts_are_bounded_and_told_in_order() -> None:
    taken: list[Any] = []
    recorder = Recorder(taken.append, most=100)
    live = object()
    for _ in range(1000):
        recorder.closed(live)
    assert recorder.lost == 900
    recorder.start()
    recorder.stop()
    assert len(taken) == 100 and [fact.at for fact in taken] == sorted(fact.at for fact in taken)

    def fails(fact: Any) -> None:
        raise ValueError

    broken = Recorder(fails)
    broken.start()
    for _ in range(3):
        broken.closed(live)
    broken.stop()
    assert broken.lost == 3
