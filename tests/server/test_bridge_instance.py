"""One plugin's bridge against a real server with the toy model; the plugin is a few lines that count frames."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from safa_server.bridge.document import Document
from safa_server.bridge.instance import Instance, ServerAddress
from safa_server.bridge.parameters import NAMES, USUAL
from safa_server.bridge.segment import PARAMETER, PLAYING, TRANSPORT, Segment
from safa_server.client import SafaClient
from safa_server.station import Station
from safa_stream.scene import parse_prompts
from safa_stream.session.livescene import LiveScene
from safa_stream.session.messages import AddLayer, Prompt
from tests.server.plugin_memory import PluginMemory
from tests.server.ws_rig import Rig, eventually, run, serving


@dataclass
class Stage:
    """A plugin that runs in a host, as far as the bridge can tell."""

    rig: Rig
    plugin: PluginMemory
    segment: Segment
    slots: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def station(self) -> Station:
        (station,) = self.rig.stations.all()
        return station

    @property
    def prompts(self) -> str:
        return str(self.station.state()["layers"][0]["prompts"])

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.segment.scene() or "{}"))

    def set(self, **values: float) -> None:
        """Parameters move in the host."""
        for name, value in values.items():
            self.plugin.push(self.plugin.wide[8], PARAMETER, NAMES.index(name), value, 0.0, 0.0)

    async def plays(self) -> None:
        await eventually(lambda: self.segment.status == PLAYING)

    async def consume(self, count: int) -> None:
        """Take frames as a host does; more than is asked for ahead, so the bridge has to keep up."""
        for _ in range(count // 480):
            await eventually(lambda: self.segment.written - self.segment.plugin().read >= 480)
            self.plugin.wide[8] = self.segment.plugin().read
            self.plugin.read(480)


@asynccontextmanager
async def stage(scene: str = "low", **parameters: float) -> AsyncIterator[Stage]:
    """A bridge that serves a plugin with these parameters."""
    async with serving() as rig:
        plugin = PluginMemory(os.getpid())
        plugin.play()
        made = Stage(rig, plugin, plugin.segment())
        # The bridge's view is its own: what it has read is its own business.
        given = LiveScene.from_value(scene)
        instance = Instance("p", plugin.segment(), ServerAddress(rig.url), given, lambda number: made.slots.get(number))
        task = asyncio.create_task(instance.run())
        await eventually(lambda: plugin.narrow[41] != 0)
        made.set(**{**USUAL, **parameters})
        try:
            await made.plays()
            yield made
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def staged(test: Callable[[Stage], Any], **parameters: Any) -> None:
    async def whole() -> None:
        async with stage(**parameters) as made:
            await test(made)

    run(whole())


def test_as_much_is_asked_for_as_is_to_lie_ready_and_no_more() -> None:
    async def test(made: Stage) -> None:
        await eventually(lambda: made.segment.written == 9600)
        await asyncio.sleep(0.2)
        assert made.segment.written == 9600
        await made.consume(4800)
        await eventually(lambda: made.segment.written == 14_400)
        assert made.station.pacing == "host" and made.segment.session == made.station.id

    staged(test)


def test_a_change_is_meant_for_the_sample_that_the_latency_promises() -> None:
    async def test(made: Stage) -> None:
        async with SafaClient.connect(made.rig.url) as other:
            await other.join(made.station.id)
            await made.consume(4800)
            made.set(gain=-6.0)
            await made.consume(24_000)
            await eventually(lambda: any(event["type"] == "applied" for event in other.events))
            (applied,) = [event for event in other.events if event["type"] == "applied"]
        # At frame 4800, heard 15360 later, 240 of which are the limiter's; or with the block of 960 that follows.
        meant = 4800 + 15_360 - 240
        assert meant <= applied["position"] < meant + 960
        assert made.station.state()["master"]["gain"] == -6.0
        await eventually(lambda: made.document["scene"]["master"]["gain"] == -6.0)
        assert made.segment.late == 0

    staged(test)


def test_prompts_come_from_the_file_the_host_and_the_page() -> None:
    async def test(made: Stage) -> None:
        made.slots[1] = ("high", "low")
        await made.consume(24_000)
        await eventually(lambda: made.prompts == "high")
        made.set(weight_1=0.0, weight_2=1.0)
        await made.consume(38_400)
        assert made.prompts == "low"
        made.plugin.set_states(prompts="low\nhigh")
        await made.consume(38_400)
        assert made.prompts == "high"
        # As the page does it: another client that may steer.
        async with SafaClient.connect(made.rig.url) as page:
            await page.join(made.station.id, made.station.token, control=True)
            await page.send(Prompt(prompts=parse_prompts("low, high:0.5")))
            await page.send(AddLayer(prompts=parse_prompts("high")))
        await eventually(lambda: len(made.document["scene"]["layers"]) == 2)
        assert made.document["slots"] == ["low", "high"]
        assert [prompt["weight"] for prompt in made.document["scene"]["layers"][0]["prompts"]] == [1.0, 0.5]

    staged(test)


def test_a_project_that_is_loaded_is_a_session_of_its_own_from_the_beginning() -> None:
    async def test(made: Stage) -> None:
        await made.consume(4800)
        before, held = made.station.id, Document.new(LiveScene.from_value("high")).as_json()
        made.plugin.set_states(scene=held, prompts="")
        await eventually(lambda: made.segment.session not in ("", before) and made.segment.status == PLAYING)
        assert made.prompts == "high" and made.rig.stations.find(before) is None
        cut = int(made.plugin.wide[18])
        await eventually(lambda: made.segment.written - cut == 9600)
        assert made.station.position == 9600

    staged(test)


def test_a_host_of_another_rate_goes_on_with_the_same_session() -> None:
    async def test(made: Stage) -> None:
        await made.consume(9600)
        session = made.station.id
        made.plugin.play(44_100, 8820, 14_112)
        await eventually(lambda: made.plugin.narrow[40] == 44_100)
        await made.plays()
        cut = int(made.plugin.wide[18])
        await eventually(lambda: made.segment.written > cut + 4410)
        assert made.station.id == session and made.station.position > 9600

    staged(test)


def test_a_session_that_follows_the_transport_stands_with_it() -> None:
    async def test(made: Stage) -> None:
        await eventually(lambda: not made.station.playing and made.plugin.narrow[43] == 1)
        made.plugin.push(0, TRANSPORT, 1, 0.0, 0.0, 0.0)
        await eventually(lambda: made.station.playing and made.plugin.narrow[43] == 0)

    staged(test, follow=1.0)


def test_a_render_that_waits_gets_a_session_anew_that_waits_for_it() -> None:
    async def test(made: Stage) -> None:
        await made.consume(9600)
        before = made.station.id
        made.set(wait=1.0)
        await eventually(lambda: made.segment.session not in ("", before) and made.segment.status == PLAYING)
        assert made.station.pacing == "pull"
        assert made.rig.stations.find(before) is None

    staged(test)


def test_a_plugin_that_is_gone_takes_its_session_with_it() -> None:
    async def whole() -> None:
        async with serving() as rig:
            plugin = PluginMemory(os.getpid())
            plugin.play()
            task = asyncio.create_task(Instance("p", plugin.segment(), ServerAddress(rig.url)).run())
            await eventually(lambda: plugin.narrow[41] != 0)
            for number, value in enumerate(USUAL.values()):
                plugin.push(0, PARAMETER, number, value, 0.0, 0.0)
            await eventually(lambda: len(rig.stations.all()) == 1 and plugin.wide[16] > 0)
            assert plugin.narrow[42] == PLAYING
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await eventually(lambda: not rig.stations.all())

    run(whole())
