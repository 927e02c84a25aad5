"""The plugin in real hosts: what they hear is what the session gives, to the last bit, and nothing that happens to the
server steps, clicks or holds a host up.

A second or two each. For the long proof: SAFA_PLUGIN_SECONDS=60 pytest tests/examples/test_plugin.py -k Exactly, which
plays every rate with every block size in every host; and SAFA_PLUGIN_SOAK_SECONDS=1200 ... -k Beside -s.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from safa_server.blocks import BLOCK
from safa_server.bridge.document import Document
from safa_server.bridge.parameters import NAMES, USUAL
from safa_server.bridge.segment import PLAYING
from safa_server.client import SafaClient
from safa_server.control import Close, Grant
from safa_stream.scene import parse_prompts
from safa_stream.session.messages import AddLayer, Command, Mix
from safa_stream.types import FloatArray
from tests.clients.plugin.jalv import PORTS, Jalv, equal_pieces
from tests.clients.plugin.soak import soak
from tests.clients.plugin.studio import Listener, Studio, built, studio
from tests.clients.proofs import Proof, Proofs
from tests.clients.sound_servers import jack_recording, jack_server, recorded

SECONDS = float(os.environ.get("SAFA_PLUGIN_SECONDS", "1"))
SOAK_SECONDS = float(os.environ.get("SAFA_PLUGIN_SOAK_SECONDS", "2"))
LONG = SECONDS >= 10
RATES, BLOCKS = (44_100, 48_000), (64, 512, 2048)
EVERY = tuple(itertools.product(RATES, BLOCKS))
#: Frames of a fade at 48 kHz, and of the silence that a session begins with while its limiter looks ahead.
FADE = DELAY = 240


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A folder that stays has less to make the next time.
    stays = os.environ.get("SAFA_PLUGIN_BUILD")
    return built(Path(stays) if stays else tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with studio(tmp_path_factory.mktemp("studio")) as made:
        yield made


@pytest.fixture
def here(shared: Studio) -> Iterator[Studio]:
    """The studio, with no plugin of the test before in it."""
    shared.until_gone()
    yield shared


def order(plugin: Path, out: Path, host: str = "pedalboard", **more: Any) -> dict[str, Any]:
    named = {"rate": 48_000, "block": 512, "seconds": SECONDS, **more}
    return {"host": host, "plugin": str(plugin / "safastream.vst3"), "out": str(out / "heard.npy"), **named}


def equal_from(heard: FloatArray, session: FloatArray, start: int, first: int) -> int:
    """Frames of `heard` that are the session's, from its frame `first` on; `session` begins with frame `start`.

    All but the fade at the session's beginning and what the listener did not ask for have to be equal.
    """
    skip = max(0, start - first, DELAY + FADE - first)
    count = min(len(heard) - skip, len(session) - (first + skip - start))
    mine, other = heard[skip : skip + count], session[first + skip - start :][:count]
    differ = np.flatnonzero((mine != other).any(axis=1))
    assert not len(differ), f"frame {differ[0] + skip} of {len(heard)} is another, {len(differ)} are"
    assert np.abs(mine).max() > 1e-3
    return count


class TestForms:
    def test_each_form_is_there_and_lv2_lists_the_parameters_that_the_bridge_knows(
        self, plugin: Path, proofs: Proofs
    ) -> None:
        for form in ("safastream.lv2/safastream_dsp.so", "safastream.clap"):
            assert (plugin / form).exists(), form
        assert list((plugin / "safastream.vst3").rglob("*.so"))
        ttl = "".join(path.read_text() for path in (plugin / "safastream.lv2").glob("*.ttl"))
        ports = re.findall(r'lv2:symbol "(\w+)"[^\]]*?lv2:default ([-\d.]+)', ttl)
        assert [(name, float(value)) for name, value in ports if name in USUAL] == list(USUAL.items())
        assert {"underruns", "control_latency", "status", "ready"} <= set(re.findall(r'lv2:symbol "(\w+)"', ttl))
        assert len(NAMES) == 25
        made = f"with DPF {_package('dpf-source')}"
        proofs.tell(Proof("plugin (CLAP)", "built", made, not_run="no host here runs CLAP plugins"))
        proofs.tell(Proof("plugin (macOS, Windows)", "", made, not_run="not built: there is no such machine here"))


class TestExactly:
    @pytest.mark.parametrize(("rate", "block"), EVERY if LONG else ((48_000, 2048), (44_100, 64)))
    def test_pedalboard_hears_what_the_session_gives(
        self, rate: int, block: int, plugin: Path, here: Studio, tmp_path: Path, proofs: Proofs
    ) -> None:
        self.offline("pedalboard", rate, block, plugin, here, tmp_path, proofs)

    @pytest.mark.parametrize(("rate", "block"), EVERY if LONG else ((48_000, 512),))
    def test_dawdreamer_hears_what_the_session_gives(
        self, rate: int, block: int, plugin: Path, here: Studio, tmp_path: Path, proofs: Proofs
    ) -> None:
        self.offline("dawdreamer", rate, block, plugin, here, tmp_path, proofs)

    def offline(
        self, host: str, rate: int, block: int, plugin: Path, here: Studio, folder: Path, proofs: Proofs
    ) -> None:
        wait = {"wait_offline": True} if host == "pedalboard" else {"Wait (offline)": 1.0}
        run = here.host(order(plugin, folder, host, rate=rate, block=block, parameters=wait))
        segment = here.segment()
        with Listener(here.url, rate, segment) as listener:
            said, heard = run.end()
        start, session = listener.sound()
        status = segment.plugin()
        # pedalboard takes off the latency that the plugin reports, dawdreamer does not.
        count = equal_from(heard, session, start, said["latency"] if host == "pedalboard" else 0)
        assert (status.underruns, status.missing, segment.late) == (0, 0, 0)
        assert count >= len(heard) - 2048
        proofs.tell(
            Proof(
                f"{host} (VST3)",
                f"exact: offline, {rate} Hz, blocks of {block}",
                _version(host),
                count,
                status.underruns,
            )
        )

    @pytest.mark.parametrize(("rate", "block"), EVERY if LONG else ((48_000, 1024),))
    def test_jalv_hears_what_the_session_gives(
        self,
        rate: int,
        block: int,
        plugin: Path,
        here: Studio,
        tmp_path: Path,
        proofs: Proofs,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for variable in ("SAFA_PLUGIN_FOLDER",):
            monkeypatch.setenv(variable, here.environment[variable])
        file = tmp_path / "heard.wav"
        with jack_server(monkeypatch, block, rate), Jalv(plugin, "buffer=2000"):
            segment = here.segment()
            with Listener(here.url, rate, segment) as listener, jack_recording(file, PORTS):
                until(lambda: segment.plugin().read > (SECONDS + 1) * rate)
        start, session = listener.sound()
        status = segment.plugin()
        count = equal_pieces(recorded(file, rate), session, status.underruns)
        assert count >= SECONDS * rate
        proofs.tell(
            Proof(
                "jalv (LV2, JACK)",
                f"exact: real time, {rate} Hz, blocks of {block}",
                _version("jalv"),
                count,
                status.underruns,
            )
        )


class TestBesideOthers:
    def test_jalv_beside_two_other_sessions_runs_dry_never(
        self, plugin: Path, here: Studio, tmp_path: Path, proofs: Proofs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAFA_PLUGIN_FOLDER", str(here.folder))
        found = soak(plugin, here, tmp_path, SOAK_SECONDS, monkeypatch)
        print(json.dumps(found))
        assert found["frames_equal"] >= SOAK_SECONDS * 48_000
        assert found["others_lost"] == 0
        proofs.tell(
            Proof(
                "jalv (LV2, JACK)",
                "exact: real time beside two other sessions that are listened to, with a buffer of 2 s",
                _version("jalv"),
                found["frames_equal"],
                found["underruns"],
            )
        )


class TestAnsweringTheHost:
    def test_automation_is_heard_where_the_latency_promises(
        self, plugin: Path, here: Studio, tmp_path: Path, proofs: Proofs
    ) -> None:
        at = 40 * 512
        wanted = {"wait_offline": True}
        change = [[at / 48_000, "gain_db", -20.0]]
        run = here.host(order(plugin, tmp_path, seconds=1, parameters=wanted, changes=change))
        segment = here.segment()
        said, heard = run.end()
        unchanged = played(here.url(), Document.new().scene.as_dict(), 2.0)
        latency = said["latency"]
        differ = np.flatnonzero((heard != unchanged[latency : latency + len(heard)]).any(axis=1))
        # pedalboard takes the latency off, so the change is where the host made it, or with the session's block that
        # follows, for a ramp begins with no change.
        assert at <= differ[0] <= at + BLOCK + 1
        assert segment.late == 0
        assert np.abs(heard[at + 4800 :]).max() < 0.2 * np.abs(heard[:at]).max()
        proofs.tell(
            Proof(
                "pedalboard (VST3)",
                "exact: up to an automated gain, heard within 20 ms of where the host's latency compensation puts it",
                _version("pedalboard"),
                int(differ[0]),
                segment.plugin().underruns,
            )
        )

    def test_the_input_is_heard_as_it_is_after_the_latency(
        self, plugin: Path, here: Studio, tmp_path: Path, proofs: Proofs
    ) -> None:
        run = here.host(order(plugin, tmp_path, seconds=0.5, noise=True, parameters={"wet": 0.0}))
        _, heard = run.end()
        given = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 46 * 512)).astype(np.float32).T
        assert len(heard) > 5000
        assert np.array_equal(heard, given[: len(heard)])

    def test_a_project_brings_back_the_same_sound(
        self, plugin: Path, here: Studio, tmp_path: Path, proofs: Proofs
    ) -> None:
        state = str(tmp_path / "state")
        wanted = {"wait_offline": True, "seed": 7.0, "weight_2": 0.6}
        run = here.host(order(plugin, tmp_path, seconds=0.5, parameters=wanted, hold=True, state_out=state))
        segment = here.segment()
        run.done()
        # Somebody else steers it, as the page does: the scene is more than the plugin's parameters.
        asyncio.run(steer(here, AddLayer(prompts=parse_prompts("campfire"), seed=3, gain=-3.0), Mix(layer=0, pan=-0.5)))
        until(lambda: len(json.loads(segment.scene() or "{}").get("scene", {}).get("layers", ())) == 2)
        until(lambda: json.loads(segment.scene() or "{}")["scene"]["layers"][0]["pan"] == -0.5)
        held = json.loads(segment.scene() or "")
        run.release()
        run.end()
        here.until_gone()
        again, heard = here.host(order(plugin, tmp_path, state_in=state)).end()
        expected = played(here.url(), held["scene"], SECONDS + 1)
        count = equal_from(heard, expected, 0, again["latency"])
        assert count > 0.5 * SECONDS * 48_000
        proofs.tell(
            Proof(
                "pedalboard (VST3)",
                "exact: a saved project against a session of the scene that it holds, steered by others too",
                _version("pedalboard"),
                count,
                0,
            )
        )

    def test_a_host_s_tempo_and_transport_reach_the_bridge(self, plugin: Path, here: Studio, tmp_path: Path) -> None:
        wait = {"Wait (offline)": 1.0}
        here.host(order(plugin, tmp_path, "dawdreamer", seconds=0.5, parameters=wait, bpm=97.0)).end()
        said = here.log.read_text()
        assert "the host's transport rolls at frame 0" in said
        assert "the host's tempo is 97, 4 beats a bar" in said

    def test_the_session_follows_the_transport_and_loses_nothing(
        self, plugin: Path, here: Studio, tmp_path: Path, proofs: Proofs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAFA_PLUGIN_FOLDER", str(here.folder))
        file = tmp_path / "heard.wav"
        with jack_server(monkeypatch), Jalv(plugin, "follow=1", "buffer=1000"):
            # Its library comes with JACK, which other tests do without.
            import jack

            segment = here.segment()
            transport = jack.Client("transport")
            with Listener(here.url, 48_000, segment) as listener, jack_recording(file, PORTS):
                until(lambda: segment.status == PLAYING and segment.plugin().processed > 24_000)
                assert segment.plugin().read == 0
                for _ in range(2):
                    before = segment.plugin().read
                    transport.transport_start()
                    until(lambda before=before: segment.plugin().read > before + 24_000)
                    transport.transport_stop()
                    stood = segment.plugin().processed
                    until(lambda stood=stood: segment.plugin().processed > stood + 24_000)
            transport.close()
        _, session = listener.sound()
        status, heard = segment.plugin(), recorded(file)
        count = equal_pieces(heard, session, status.underruns + 1)
        assert status.underruns == 0
        assert count >= 2 * 24_000 - 4 * FADE
        proofs.tell(
            Proof(
                "jalv (LV2, JACK)",
                "exact: through two starts and stops of JACK's transport, but for the fades",
                _version("jalv"),
                count,
                status.underruns,
            )
        )


class TestServerGone:
    def test_sound_fades_out_and_in_and_the_host_never_waits(
        self, plugin: Path, here: Studio, tmp_path: Path, proofs: Proofs
    ) -> None:
        stop = tmp_path / "stop"
        run = here.host(order(plugin, tmp_path, seconds=240, paced=True, stop=str(stop)))
        segment, rate = here.segment(), 48_000
        with Listener(here.url, rate, segment) as listener:
            until(lambda: segment.plugin().read > rate)
            here.kill_server()
            until(lambda: segment.plugin().missing > 0)
        start, session = listener.sound()
        at = segment.plugin().read
        with Listener(here.url, rate, segment, listener.session) as back:
            until(lambda: segment.plugin().read > at + rate)
            stop.touch()
            said, heard = run.end()
        status = segment.plugin()
        again, restored = back.sound()
        steps = np.abs(np.diff(heard, axis=0)).max()
        before = max(np.abs(np.diff(one, axis=0)).max() for one in (session, restored))
        # A fade's own step: its steepest slope times the highest sample.
        assert steps <= before + 2 * np.pi / 2 / FADE * np.abs(heard).max()
        assert (status.underruns, said["waits"]) == (1, 0), said
        begins = int(np.flatnonzero(heard.any(axis=1))[0])
        silent = np.flatnonzero(~heard.any(axis=1))
        gap = silent[silent > begins + rate // 2]
        assert len(gap) > 480, "there is no silence while the server is away"
        # Before it the first session from its beginning, behind it the new one from its own.
        count = equal_from(heard[begins : int(gap[0]) - FADE], session, start, DELAY)
        count += equal_from(heard[int(gap[-1]) + 1 :], restored, again, DELAY)
        assert count > rate
        proofs.tell(
            Proof(
                "pedalboard (VST3)",
                "exact: before and after the server was killed and started again; faded, no click, no call waited",
                _version("pedalboard"),
                count,
                status.underruns,
            )
        )


async def _played(url: str, scene: dict[str, Any], seconds: float) -> FloatArray:
    wanted, frames = round(seconds * 48_000), list[FloatArray]()
    async with SafaClient.connect(url) as client:
        await client.open(scene, pacing="pull", channels=2)
        await client.send(Grant(samples=wanted))
        async for frame in client:
            frames.append(frame.samples().T)
            if sum(map(len, frames)) >= wanted - 960:
                break
        await client.send(Close())
    return np.concatenate(frames)


def played(url: str, scene: dict[str, Any], seconds: float) -> FloatArray:
    """[N, 2]: how a session of a scene begins, heard by a client of its own."""
    return asyncio.run(_played(url, scene, seconds))


async def steer(here: Studio, *commands: Command) -> None:
    """Steer the plugin's session through the link to its page that the bridge has printed."""
    link = re.findall(r"its page: (\S+)", here.log.read_text())[-1]
    session = dict(parse_qsl(urlsplit(link).fragment))
    async with SafaClient.connect(here.url()) as client:
        await client.join(session["session"], session["token"], control=True)
        for command in commands:
            await client.send(command)


def until(reached: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds + 4 * SECONDS
    while not reached():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def _version(tool: str) -> str:
    """Of a Python package, or of a Debian package."""
    try:
        return version(tool)
    except PackageNotFoundError:
        return _package(tool)


def _package(name: str) -> str:
    found = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True).stdout
    return re.split(r"[-+~]", found)[0]
