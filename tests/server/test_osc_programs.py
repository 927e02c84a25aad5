"""Real programs steer a running server over OSC and get its answers: liblo, Pure Data, Csound, SuperCollider.

Four independent OSC libraries, none of them Python's. A program that is not installed fails its test.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.programs import Running, free_port, listening, running
from tests.server.osc_rig import RATE

CLIENTS = Path(__file__).parents[1] / "clients" / "osc"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home")) as server:
        yield server


def told(printed: str, pattern: str) -> re.Match[str]:
    """The first line that a pattern fits."""
    found = re.search(pattern, printed, re.MULTILINE)
    assert found, f"nothing like {pattern!r} in:\n{printed[-3000:]}"
    return found


def test_liblo(server: Running) -> None:
    port = free_port()
    dump = server.start("oscdump", "-L", port)
    try:
        listening(dump, port)
        to = ("127.0.0.1", server.port)
        server.run("oscsend", *to, "/safa/subscribe", "sif", "", port, 20)
        server.run("oscsend", *to, "/safa/layer/0/gain", "ff", -6, 0.1)
        server.run("oscsend", *to, "/safa/layer/0/mute", "T")
        server.run("oscsend", *to, "/safa/layer/0/mute", "F")
        server.run("oscsend", *to, "/safa/seed", "hN", 9_000_000_000)
        server.run("oscsend", *to, "/safa/layer/0/gain", "s", "loud")
        server.run("oscsend", f"osc.tcp://127.0.0.1:{server.tcp_port}", "/safa/layer/0/pan", "f", 0.5)
        end = time.monotonic() + 30
        while server.state()["layers"][0]["pan"] != 0.5 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
        server.run("oscsend", *to, "/safa/unsubscribe", "si", "", port)
    finally:
        dump.terminate()
        printed = dump.communicate()[0]
    for line in (
        r'/safa/ok si "/safa/subscribe" 0$',
        r'/safa/ok si "/safa/layer/0/gain" \d+$',
        r'/safa/ok si "/safa/layer/0/mute" \d+$',
        r'/safa/ok si "/safa/seed" \d+$',
        r'/safa/ok si "/safa/layer/0/pan" \d+$',
        r'/safa/error ss "/safa/layer/0/gain" "argument 1 \(gain\) must be a number .*loud',
        r"/safa/event/applied iiiiis \d+ \d+ \d+ ",
        rf'/safa/status siiifi "{server.address["session"]}" \d+ \d+ 1 \d',
        r"/safa/meter ffff 0\.\d+ 0\.\d+ 0\.\d+ 0\.\d+$",
    ):
        told(printed, line)
    layer = server.state()["layers"][0]
    assert (layer["gain"], layer["mute"], layer["pan"], layer["seed"]) == (-6, False, 0.5, 9_000_000_000)


def test_pure_data(server: Running) -> None:
    printed = server.run("pd", "-nogui", "-noaudio", "-stderr", "-send", f"server {server.port}", CLIENTS / "client.pd")
    told(printed, r"^GOT: list safa ok /safa/subscribe 0$")
    told(printed, r"^GOT: list safa ok /safa/layer/0/gain \d+$")
    told(printed, r"^GOT: list safa error /safa/layer/0/gain .*loud")
    told(printed, r"^GOT: list safa pong 42 \d+ \d+$")
    told(printed, r"^GOT: list safa event scene saved \d+ \d+ from-pd ")
    told(printed, r"^GOT: list safa ok /safa/scene/save \d+$")
    told(printed, rf"^GOT: list safa status {re.escape(server.address['session'])} \d+ \d+ 1 [\d.]+ 1$")
    told(printed, r"^GOT: list safa meter 0\.\d+ 0\.\d+ 0\.\d+ 0\.\d+$")
    # Pure Data knows neither wide integers, doubles nor booleans; it says so where a message has one.
    assert "oscparse" not in printed
    state = server.state()
    assert state["layers"][0]["gain"] == -7.5 and "from-pd" in state["scenes"]


def test_csound(server: Running) -> None:
    macros = f"--omacro:SERVER={server.port}", f"--omacro:LISTEN={free_port()}"
    printed = server.run("csound", *macros, CLIENTS / "client.csd")
    told(printed, r"GOT ok /safa/subscribe 0$")
    told(printed, r"GOT ok /safa/layer/0/gain \d+$")
    told(printed, r"GOT ok /safa/prompt \d+$")
    told(printed, r"GOT error /safa/layer/6/gain .*layer 6")
    clocks = re.findall(rf"GOT status {re.escape(server.address['session'])} (\d+) (\d+) 1 [\d.]+ 1", printed)
    times = [int(seconds) * RATE + int(samples) for seconds, samples in clocks]
    assert len(times) > 3 and times == sorted(times)
    told(printed, r"GOT meter 0\.\d+ 0\.\d+ 0\.\d+ 0\.\d+$")
    layer = server.state()["layers"][0]
    assert (layer["gain"], layer["prompts"]) == (-4.5, "wind, birds:0.25")


def test_supercollider(server: Running) -> None:
    printed = server.run("sclang", CLIENTS / "client.scd", server.port)
    told(printed, r"^GOT /safa/ok /safa/subscribe 0$")
    told(printed, r"^GOT /safa/ok /safa/layer/\*/pan \d+$")
    told(printed, r"^GOT /safa/error /safa/layer/0/gain .*loud")
    pong = told(printed, r"^GOT /safa/pong 4711 (\d+) (\d+)$")
    told(printed, r"^GOT /safa/status \S+ \d+ \d+ 1 [\d.]+ 1$")
    told(printed, r"^GOT /safa/meter [\d.]+ [\d.]+ [\d.]+ [\d.]+$")
    told(printed, r"^GOT audio \d+ \d+ \d+ 960$")
    # A bundle half a second ahead: both of its commands at the same sample, half a second after the ping.
    numbers = [told(printed, rf"^GOT /safa/ok /safa/layer/0/{name} (\d+)$")[1] for name in ("low", "high")]
    applied = [told(printed, rf"^GOT /safa/event/applied (\d+) (\d+) {number} ") for number in numbers]
    low, high = (int(one[1]) * RATE + int(one[2]) for one in applied)
    assert low == high
    # What held the ping up is missing, what held the bundle's making up comes on top.
    assert 0.2 < (low - int(pong[1]) * RATE - int(pong[2])) / RATE < 2.0
    layer = server.state()["layers"][0]
    assert (layer["gain"], layer["mute"], layer["pan"]) == (-3.5, True, 0.5)
    assert (layer["low"], layer["high"]) == (3, -3)


def test_the_example(server: Running) -> None:
    script = Path(__file__).parents[2] / "examples" / "osc" / "steer.py"
    printed = server.python(script, "wind, low:0.5", "--port", server.port, "--gain", -12, "--seconds", 4)
    told(printed, r"^/safa/ok /safa/prompt \d+$")
    number = told(printed, r"^/safa/ok /safa/master/gain (\d+)$")[1]
    told(printed, rf"^/safa/event/applied \d+ \d+ {number} ")
    told(printed, r"^/safa/status \S+ \d+ \d+ 1 ")
    state = server.state()
    assert (state["master"]["gain"], state["layers"][0]["prompts"]) == (-12, "wind, low:0.5")


def test_a_missing_program_fails_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.clients import programs

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs.shutil, "which", lambda name, path=None: None)
    with pytest.raises(pytest.fail.Exception, match="apt-get install --no-install-recommends supercollider-language"):
        programs.program("sclang")
