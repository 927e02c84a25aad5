"""The installation example: its programme directs a real session, through crashes, and for days within seconds."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa_server import memory
from safa_server.client import SafaClient
from safa_server.direction.conductor import SPARE_SECONDS, hastened
from safa_server.direction.link import link_in
from safa_server.direction.programme_file import read_programme
from safa_server.direction.rehearsal import Heard, rehearse
from safa_server.direction.senses import Reading
from safa_server.osc_packet import write_message
from safa_stream.models import load
from safa_stream.session import messages as m
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.stream import step_views
from tests.clients.programs import free_port, program
from tests.clients.proofs import Proof, Proofs
from tests.direction import Session as Ledger
from tests.examples.conftest import Served
from tests.server.test_serve import COMMAND, ROOT, server

FOLDER = ROOT / "examples/installation"
UNITS = sorted((FOLDER / "systemd").iterdir())
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
#: Days of the programme that are played, and how much faster than real ones: a day in twenty seconds of sound.
DAYS = float(os.environ.get("SAFA_SOAK_DAYS", "0.25"))
SPEED = 4320.0


def perform(
    seconds: float, speed: float, heard: list[Heard]
) -> tuple[list[tuple[float, m.Command]], list[m.Event], str]:
    """The programme in a real session without a server: commands, events, and a digest of all that was heard."""
    model, programme = load("builtin"), read_programme(FOLDER / "programme.toml")
    programme = replace(programme, spare=SPARE_SECONDS * speed)
    said = list(rehearse(programme, NOON, seconds, heard))
    session = Session.begin(model, LiveScene.from_value("wind"))
    # What is heard is not judged here, so it may be made with few steps.
    session.receive(m.Configure(steps=2))
    ledger, waiting = Ledger(programme.together + len(programme.layers)), iter(said)
    events, digest = list[m.Event](), sha256()
    coming = next(waiting, None)
    while session.position < seconds / speed * session.rate:
        now = NOON + session.position / session.rate * speed
        while coming is not None and coming[0] <= now:
            # The session has layer 0 already; all else is taken as it comes, or the session raises.
            if not (isinstance(coming[1], m.AddLayer) and coming[1].layer == 0):
                session.receive(hastened(coming[1], speed))
            ledger.take(*coming)
            coming = next(waiting, None)
        for layer in session.wanting(lead=6.0):
            work = session.start(layer)
            while not work.view.done:
                step_views(model, [work.view])
            session.complete(work.finish())
        digest.update(session.read(960).samples.tobytes())
        events += session.events()
        session.journal()
    return said, events, digest.hexdigest()


def weather(seconds: float) -> list[Heard]:
    """Wind that rises above the storm's threshold twice a day, and people who come by."""
    hours = np.arange(0, seconds, 600.0)
    wind = 8 + 6 * np.sin(2 * np.pi * hours / 43_200)
    near = (hours % 7200 < 600).astype(float)
    return [
        Heard(NOON + at, Reading(address, float(value)))
        for at, *values in zip(hours, wind, near, strict=True)
        for address, value in zip(("/sensor/wind", "/sensor/near"), values, strict=True)
    ]


def test_days_in_seconds_are_the_same_days_again(proofs: Proofs) -> None:
    # As the server does, in which it runs for weeks: otherwise what is counted is how the heap is in pieces.
    memory.give_back_what_is_free()
    seconds = DAYS * 86_400
    said, events, sound = perform(seconds, SPEED, weather(seconds))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    again, events_again, sound_again = perform(seconds, SPEED, weather(seconds))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert said == again and events == events_again
    assert sound == sound_again
    began = sum(isinstance(command, m.AddLayer) for _, command in said) - 1
    assert began > 6 * DAYS and not any(isinstance(event, m.Refused) for event in events)
    assert sum(isinstance(event, m.LayerEnded) for event in events) >= began - 2
    assert grown < 32, f"the second time took {grown:.0f} MB more"
    proofs.tell(
        Proof(
            "installation",
            f"{24 * DAYS:g} h of its programme in {seconds / SPEED:g} s: exact when made again, nothing refused",
            "safa-stream direct",
            round(seconds / SPEED * 48_000),
        )
    )


@contextmanager
def directing(folder: Path, osc: int, *flags: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`safa-stream direct` beside a server."""
    paths = os.pathsep.join(str(ROOT / name) for name in (".", "server", "exporters"))
    command = [*COMMAND, "direct", str(FOLDER / "programme.toml"), "--ready-file", str(folder / "ready.json")]
    with (folder / "direct.log").open("a") as log:
        process = subprocess.Popen(
            [*command, "--osc-port", str(osc), *flags],
            env={**os.environ, "PYTHONPATH": paths, **variables},
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def until(folder: Path, met: Any, seconds: float = 40.0) -> dict[str, Any]:
    """The session's state, once `met` says so of it."""

    async def look() -> dict[str, Any]:
        link = link_in(folder / "ready.json")
        async with SafaClient.connect(link.url) as client:
            await client.join(link.session, link.token)
            end = time.monotonic() + seconds
            while True:
                state: dict[str, Any] = await client.state()
                if met(state):
                    return state
                assert time.monotonic() < end, (state, (folder / "direct.log").read_text())
                await asyncio.sleep(0.1)

    return asyncio.run(look())


def numbers(state: dict[str, Any]) -> list[int]:
    return [layer["layer"] for layer in state["layers"] if not layer["ending"]]


def test_it_goes_on_after_the_power_was_lost(tmp_path: Path) -> None:
    """Server and director are killed as a power cut would, come back, and the installation is as it was."""
    osc, heard = free_port(), tmp_path / "notify"
    flags = ("--state", str(tmp_path / "state"), "--restore", "--prompt", "campfire", "--layers", "6")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.socket(type=socket.SOCK_DGRAM) as sensor:
        systemd.bind(str(heard))
        systemd.settimeout(40)
        near = write_message("/sensor/near", 1)
        with server(tmp_path, *flags) as (process, address):
            with directing(tmp_path, osc, "--sensor-log", str(tmp_path / "log"), NOTIFY_SOCKET=str(heard)) as director:
                assert "READY=1" in systemd.recv(4096).decode()
                due = rehearse(read_programme(FOLDER / "programme.toml"), time.time(), 0)
                prompts = next(command.prompts for _, command in due if isinstance(command, m.AddLayer))
                state = until(tmp_path, lambda state: state["layers"][0]["prompts"] != "campfire")
                assert state["layers"][0]["prompts"].startswith(prompts[0].text)
                # Somebody comes: the fire is lit. Noise on the port is nothing.
                sensor.sendto(b"\xff\xfe no packet", ("127.0.0.1", osc))
                sensor.sendto(write_message("/sensor/unknown", 3.0), ("127.0.0.1", osc))
                for _ in range(3):
                    sensor.sendto(near, ("127.0.0.1", osc))
                    time.sleep(0.5)
                until(tmp_path, lambda state: 3 in numbers(state))
                assert "WATCHDOG=1" in systemd.recv(4096).decode()
                logged = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
                assert logged and all(one["address"] == "/sensor/near" and one["value"] == 1.0 for one in logged)
                session = address["session"]
                # The server alone: the director finds it again.
                process.send_signal(signal.SIGKILL)
                process.wait()
                (tmp_path / "ready.json").unlink()
                with server(tmp_path, *flags) as (process, address):
                    assert address["session"] == session
                    state = until(tmp_path, lambda state: len(state["listeners"]) == 2)
                    assert state["layers"][0]["prompts"].startswith(prompts[0].text)
                    # A visit that was there when the director took over ends.
                    until(tmp_path, lambda state: 3 not in numbers(state))
                    director.send_signal(signal.SIGTERM)
                    assert director.wait(10) == 0
                    # A director that was stopped may be started again; so fast, the next time of day is seconds away.
                    before = state["layers"][0]["prompts"]
                    with directing(tmp_path, osc, "--speed", "7200"):
                        until(tmp_path, lambda state: state["layers"][0]["prompts"] != before)
    log = (tmp_path / "direct.log").read_text()
    assert "Traceback" not in log and "layer.add" in log


def test_what_systemd_is_given(tmp_path: Path, proofs: Proofs) -> None:
    """The units are understood, with the commands where an installation has them."""
    analyze = program("systemd-analyze")
    command = tmp_path / "safa-stream"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -m safa_stream.cli.main\n")
    command.chmod(0o755)
    for unit in UNITS:
        text = unit.read_text().replace("/opt/safa-stream/bin/safa-stream", str(command))
        (tmp_path / unit.name).write_text(text.replace("/opt/safa-stream/installation", str(FOLDER)))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS)], capture_output=True, text=True
    )
    ours = [line for line in done.stderr.splitlines() if "safa-" in line]
    assert done.returncode == 0 and not ours, done.stderr
    said = subprocess.run([analyze, "--version"], capture_output=True, text=True).stdout.split()[1]
    proofs.tell(
        Proof(
            "systemd",
            "the installation's units: `systemd-analyze verify`",
            said,
            not_run="no machine is booted in the tests; crashes, SIGTERM, watchdog and health check are played by hand",
        )
    )


@pytest.mark.parametrize("hangs", [False, True])
def test_the_health_check_starts_a_server_again_that_hangs(tmp_path: Path, hangs: bool) -> None:
    program("curl")
    asked = tmp_path / "asked"
    stand_in = tmp_path / "systemctl"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    stand_in.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # A server that hangs takes connections, which wait.
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        (tmp_path / "ready.json").write_text(json.dumps({"port": 1, "url": f"{url}#session=x"}))
        command = [str(FOLDER / "health.sh"), str(tmp_path / ("ready.json" if hangs else "none.json"))]
        text = (FOLDER / "health.sh").read_text()
        quick = tmp_path / "health.sh"
        quick.write_text(text.replace("--max-time 5", "--max-time 0.3").replace("sleep 1", "sleep 0.1"))
        quick.chmod(0o755)
        command[0] = str(quick)
        done = subprocess.run(command, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout=30)
    assert done.returncode == 0
    assert (asked.read_text().strip() == "restart safa-stream.service") if hangs else not asked.exists()


def test_the_health_check_is_content_with_a_real_server(served: Served) -> None:
    assert (
        subprocess.run([str(FOLDER / "health.sh"), str(served.ready_file), "nothing.service"], timeout=60).returncode
        == 0
    )
