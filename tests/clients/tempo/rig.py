"""A server that follows a tempo, and who leads it, side by side: what frames say is held against the leader.

    python rig.py link     Ableton Link: one peer measures, another one (aalink) changes the tempo
    python rig.py midi     MIDI clock through python-rtmidi's JACK ports

Prints one JSON object. Run in a network of its own: Link sends to every interface that there is.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safa_server.client import Received, SafaClient
from safa_stream.session.messages import Mix

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-c", "from safa_stream.cli import main; raise SystemExit(main())"]
SCENE = {"format": "safa-live-1", "layers": [{"layer": 0, "prompts": "rain on a tent"}], "steps": 2}
#: The beat at a moment of the monotonic clock, and the tempo.
Truth = Callable[[int], tuple[float, float]]


class MidiSender:
    """Sends a clock at a steady tempo on a thread of its own; `truth` is what it means to send."""

    def __init__(self, bpm: float) -> None:
        import rtmidi

        self._out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="leader")
        ports = self._out.get_ports()
        self._out.open_port(next(n for n, name in enumerate(ports) if "safa-stream" in name), "clock")
        self._bpm, self._beat, self._since = bpm, 0.0, time.monotonic()
        self._going = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def truth(self, at_ns: int) -> tuple[float, float]:
        return self._beat + (at_ns / 1e9 - self._since) * self._bpm / 60, self._bpm

    def change(self, bpm: float) -> None:
        now = time.monotonic()
        self._beat, self._since, self._bpm = self._beat + (now - self._since) * self._bpm / 60, now, bpm

    def stop(self) -> None:
        self._going = False
        self._thread.join()
        self._out.close_port()

    def _run(self) -> None:
        self._out.send_message([0xFA])
        tick = 0
        while self._going:
            left = (tick / 24 - self._beat) * 60 / self._bpm + self._since - time.monotonic()
            if left > 0:
                time.sleep(min(left, 0.01))
                continue
            self._out.send_message([0xF8])
            tick += 1


async def frames(client: SafaClient, seconds: float) -> list[Received]:
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        async with asyncio.timeout(20):
            found.append(await anext(client))
    return found


def off(found: list[Received], truth: Truth, beats: float = 4.0) -> list[float]:
    """By how much each frame's beat is not its leader's at the moment when it left, ms, as far as bars tell.

    Frames leave late by some milliseconds and never early: when one should have left is known from the earliest.
    """
    zero = min(one.header.clock_ns - one.header.start * 1_000_000_000 // one.header.rate for one in found)
    late = []
    for one in found:
        assert one.header.time is not None
        beat, bpm = truth(zero + one.header.start * 1_000_000_000 // one.header.rate)
        apart = (one.header.time.beat - beat + beats / 2) % beats - beats / 2
        late.append(round(apart * 60_000 / bpm, 3))
    return late


async def until(client: SafaClient, bpm: float) -> float:
    """Seconds until frames tell a tempo."""
    began = time.monotonic()
    while time.monotonic() - began < 20:
        for one in await frames(client, 0.1):
            if one.header.time is not None and abs(one.header.time.bpm - bpm) < 0.005 * bpm:
                return time.monotonic() - began
    raise TimeoutError(f"the session never came to {bpm:g} beats a minute")


async def quantised(client: SafaClient) -> float:
    """How far from a bar, in samples, a gain for the next bar was carried out, by the session's own grid."""
    number = await client.send(Mix(layer=0, gain=-6.0, quantise="bar"))
    grid = {}
    for _ in range(200):
        for event in list(client.events):
            if event["type"] == "applied" and event["command"] == number:
                state = await client.state()
                tempo, rate = state["tempo"], state["rate"]
                grid = event
                beat = tempo["beat"] - (state["position"] - event["position"]) * tempo["bpm"] / 60 / rate
                return ((beat + 2) % 4 - 2) * 60 * rate / tempo["bpm"]
        await frames(client, 0.05)
    raise TimeoutError(f"no bar came: {grid}")


async def measure(client: SafaClient, truth: Truth, change: Callable[[float], None]) -> dict[str, Any]:
    await client.open(SCENE)
    told: dict[str, Any] = {}
    for name, bpm in (("first", 100.0), ("second", 133.0)):
        if name == "second":
            change(bpm)
        told[f"{name} took"] = await until(client, bpm)
        await frames(client, 1.0)
        told[name] = off(await frames(client, 1.0), truth)
    told["quantised"] = await quantised(client)
    told["lost"] = client.lost
    return told


async def example(url: str) -> str:
    """What the example says of two changes."""
    script = [sys.executable, str(ROOT / "examples/tempo/on_the_bar.py"), "rain", "campfire", "wind", "--no-sound"]
    options = ["--every", "2 beats", "--changes", "2", "--url", url]
    running = await asyncio.create_subprocess_exec(*script, *options, stderr=subprocess.PIPE)
    return (await asyncio.wait_for(running.communicate(), 60))[1].decode()


async def link(client: SafaClient, url: str) -> dict[str, Any]:
    import aalink
    import link as link_python

    watch = link_python.Link(100.0)
    watch.enabled = True
    other = aalink.Link(100.0)
    other.enabled = True

    def truth(at_ns: int) -> tuple[float, float]:
        state = watch.captureAppSessionState()
        at = watch.clock().micros() + (at_ns - time.monotonic_ns()) // 1000
        return state.beatAtTime(at, 4.0), state.tempo()

    def change(bpm: float) -> None:
        other.tempo = bpm

    try:
        # Who comes later takes the tempo that is there, so it can be changed once all have met.
        async with asyncio.timeout(20):
            while watch.numPeers() < 2:
                await asyncio.sleep(0.05)
        change(100.0)
        return {**await measure(client, truth, change), "example": await example(url)}
    finally:
        watch.enabled = other.enabled = False


async def midi(client: SafaClient, url: str) -> dict[str, Any]:
    sender = MidiSender(100.0)
    try:
        return await measure(client, sender.truth, sender.change)
    finally:
        sender.stop()


async def main(mode: str) -> None:
    with TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        leader = ["--link"] if mode == "link" else ["--midi-clock", "jack:own"]
        command = [*COMMAND, "serve", "--port", "0", "--osc-port", "-1", "--ready-file", str(ready), "--layers", "4"]
        command += ["--quiet", "--log-level", "warning", *leader]
        server = subprocess.Popen(command, env=os.environ, stdout=sys.stderr)
        try:
            while not ready.exists():
                assert server.poll() is None, "the server has ended"
                await asyncio.sleep(0.05)
            url = f"ws://127.0.0.1:{json.loads(ready.read_text())['port']}/ws"
            async with SafaClient.connect(url) as client:
                print(json.dumps(await {"link": link, "midi": midi}[mode](client, url)), flush=True)
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
