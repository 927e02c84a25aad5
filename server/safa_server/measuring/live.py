"""`bench live`: how soon a live server is heard, how soon it does what it is told, and how much it carries."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from safa_server.client import SafaClient
from safa_server.control import Close
from safa_server.limits import Limits
from safa_server.measuring.capacity import MOST_SESSIONS, Capacity, capacity
from safa_server.measuring.faders import Faders, faders
from safa_server.measuring.processes import load
from safa_server.measuring.servers import Report, Running, running
from safa_server.measuring.sharing import Sharing, sharing
from safa_server.measuring.twins import Heard, gain_changes, next_frame, now_changes
from safa_stream.errors import UsageError
from safa_stream.scene import parse_prompts
from safa_stream.session.livescene import LayerScene, LiveScene

#: Views of each first session that are waited for, the first among them.
VIEWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlan:
    """What is measured. runs: sessions for the first audio; changes: of each kind; hold: seconds that all sessions are
    held; window: seconds of each CPU measurement; layers: what the server admits (None: by its measured speed)."""

    model: str = "builtin"
    backend: str = "auto"
    prompt: str = "rain"
    change: str = "campfire, birds"
    steps: int | None = None
    layers: int | None = None
    runs: int = 5
    changes: int = 20
    hold: float = 30.0
    listeners: int = 200
    window: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.listeners <= Limits().listeners:
            raise UsageError(f"listeners must be from 1 to {Limits().listeners}, not {self.listeners}")

    def scene(self) -> dict[str, Any]:
        """The scene of all sessions. Raises SafaError for what is none."""
        layer = LayerScene(0, parse_prompts(self.prompt), seed=self.seed)
        return LiveScene((layer,), steps=self.steps, model=self.model).as_dict()

    def flags(self) -> tuple[str, ...]:
        """The server's."""
        layers = () if self.layers is None else ("--layers", str(self.layers))
        return ("--model", self.model, "--backend", self.backend, "--sessions", str(MOST_SESSIONS), *layers)


async def measure(plan: LivePlan, report: Report) -> dict[str, Any]:
    """All figures as JSON values. Raises SafaError where something cannot be measured."""
    scene, chance = plan.scene(), random.Random(plan.seed)
    parse_prompts(plan.change)
    busy = load()
    async with running(plan.flags(), report) as server:
        firsts, views = await first_audio(server, scene, plan.runs, report)
        report(f"{plan.changes} changes of gain")
        gains = await gain_changes(server, scene, plan.changes, chance)
        report("faders at every picture of a game")
        moved = await faders(server, scene, plan.window)
        changes, thrown = await now_changes(server, scene, plan.change, plan.changes, chance, report)
        report("sessions until one is refused")
        held = await capacity(server, scene, plan.hold, report)
        report(f"one session and {plan.listeners} listeners")
        shared = await sharing(server, scene, plan.listeners, plan.window, report)
        alarms = server.alarms()
    return {
        "first_audio_s": float(np.median(firsts)),
        "first_audio_worst_s": max(firsts),
        **_of_changes(views, changes),
        "sessions_thrown_away": thrown,
        "gain_latency_ms": 1000 * float(np.percentile(gains, 95)),
        "gain_latency_median_ms": 1000 * float(np.median(gains)),
        **_of_faders(moved),
        **_of_capacity(held),
        **_of_sharing(shared),
        "alarms_in_log": len(alarms),
        "load_before": busy,
        "steps": plan.steps,
    }


async def first_audio(
    server: Running, scene: dict[str, Any], runs: int, report: Report
) -> tuple[list[float], list[float]]:
    """Seconds from before the connection to the first frame, and seconds that views took while nothing else was made.

    A session before the first one is not counted.
    """
    firsts: list[float] = []
    views: list[float] = []
    for number in range(runs + 1):
        began = time.perf_counter()
        async with SafaClient.connect(server.url) as client:
            await client.open(scene)
            await next_frame(client)
            heard = time.perf_counter() - began
            made: list[float] = []
            while len(made) < VIEWS:
                await next_frame(client)
                made = [event["made_in"] for event in client.events if event["type"] == "view"]
            await client.send(Close())
        if number:
            firsts.append(heard)
            views += made
            report(f"first audio after {heard:.3f} s, views in {', '.join(f'{one:.3f}' for one in made)} s")
    return firsts, views


def _of_changes(views: list[float], changes: list[Heard]) -> dict[str, Any]:
    seconds = np.asarray([heard.seconds for heard in changes])
    # Views of the same sessions, made just before the changes: what else this machine does is the same for both.
    view = float(np.median([*views, *(one for heard in changes for one in heard.before)]))
    return {
        "view_generation_s": view,
        "now_change_p95_s": float(np.percentile(seconds, 95)),
        "now_change_median_s": float(np.median(seconds)),
        "now_change_share": float(np.percentile(seconds, 95)) / view,
        "now_change_view_s": float(np.median([heard.view for heard in changes])),
        "now_change_rest_p95_s": float(np.percentile(seconds - [heard.view for heard in changes], 95)),
        "now_changes": len(changes),
    }


def _of_faders(moved: Faders) -> dict[str, Any]:
    return {
        "faders_messages": moved.messages,
        "faders_commands": moved.commands,
        "faders_answer_p95_ms": 1000 * float(np.percentile(moved.answers, 95)),
        "faders_answer_median_ms": 1000 * float(np.median(moved.answers)),
        "faders_loop_cpu": moved.loop,
    }


def _of_capacity(held: Capacity) -> dict[str, Any]:
    refused = held.refusal or {}
    return {
        "sessions_real_time": held.sessions,
        "sessions_bound": held.factor,
        "sessions_share": held.sessions / held.factor,
        "sessions_hold_s": held.seconds,
        "underruns": held.underruns,
        "fewer_steps": held.fewer_steps,
        "refusal_code": refused.get("code"),
        "refusal_reason": refused.get("reason"),
        "refusal_retry_after_s": refused.get("retry_after"),
        "samples_missing": held.missing,
        "samples_duplicated": held.duplicated,
    }


def _of_sharing(shared: Sharing) -> dict[str, Any]:
    return {
        "listeners": shared.listeners,
        "encode_once_cpu_ratio": shared.ratio,
        "encode_once_loop_ratio": shared.loop_ratio,
        "cpu_one_listener": shared.one.process,
        "cpu_all_listeners": shared.all.process,
        "cpu_network_writes": shared.writes,
        "loop_cpu_one_listener": shared.one.loop,
        "loop_cpu_all_listeners": shared.all.loop,
        "listener_frames_per_second": shared.all.frames / shared.listeners,
        "listener_samples_missing": shared.missing,
        "listener_samples_duplicated": shared.duplicated,
    }
