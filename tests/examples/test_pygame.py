"""The pygame example: its mixer plays a layer of the session to the last bit; the scene says little and is heard."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from safa_server.control import Play
from safa_server.sparing import Sparing
from safa_stream.session.messages import Mix, Prompt
from tests.clients.proofs import Proof, Proofs
from tests.clients.witness import Witness, joined, opened, stretches, wait_for
from tests.examples.conftest import Served
from tests.server.test_serve import ROOT

FOLDER = ROOT / "examples/pygame"
RATE = 48_000
SECONDS = 2.0
HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "disk", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}


def started(folder: Path, script: Path, *words: object) -> subprocess.Popen[str]:
    """A script whose sound goes into a file, at the pace of a sound device."""
    paths = os.pathsep.join(str(ROOT / name) for name in (".", "server", "exporters"))
    variables = {**os.environ, **HEADLESS, "PYTHONPATH": paths, "SDL_DISKAUDIOFILE": str(folder / "played.raw")}
    command = [sys.executable, str(script), *map(str, words)]
    return subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )


@pytest.fixture(scope="module")
def clearing() -> ModuleType:
    """The scene as a module."""
    place = importlib.util.spec_from_file_location("clearing", FOLDER / "clearing.py")
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    sys.modules["clearing"] = module
    place.loader.exec_module(module)
    return module


def test_the_mixer_plays_a_layer_to_the_last_bit(
    tmp_path: Path, clearing: ModuleType, served: Served, proofs: Proofs
) -> None:
    import pygame

    with opened(served.url, clearing.SCENE) as whole:
        name, token = whole.opened["session"], whole.opened["token"]
        with joined(served.url, name, token, layer=clearing.FIRE, from_=None) as fire:
            player = Path(__file__).parent / "pygame_player.py"
            process = started(tmp_path, player, served.url, name, token, clearing.FIRE, SECONDS)
            whole.wait_for_listeners(3)
            whole.send(Play())
            said, complained = process.communicate(timeout=90)
            own, mixed = fire.frames, whole.frames
    assert process.returncode == 0 and "troubles []" in said, said + complained
    played = np.fromfile(tmp_path / "played.raw", "<f4")
    gaps = int(re.findall(r"gaps (\d+)", said)[0])
    heard = stretches(played[: len(played) // 2 * 2].reshape(-1, 2), own, gaps)
    assert heard > SECONDS * RATE / 2
    # It is the fire and not the whole clearing.
    count = min(len(own), len(mixed))
    assert not np.array_equal(own[:count], mixed[:count])
    about = f"pygame {pygame.version.ver}, SDL {'.'.join(map(str, pygame.get_sdl_version()))}"
    proofs.tell(Proof("pygame", "exact: one layer of three, as SDL's disk driver got it", about, heard, gaps))


def test_a_walk_through_the_clearing(tmp_path: Path, served: Served, proofs: Proofs) -> None:
    seconds = 4.0
    process = started(tmp_path, FOLDER / "clearing.py", "--url", served.url, "--seconds", seconds, "--by-itself")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("session "), first
    with joined(served.url, first.split()[1], from_=None) as witness:
        wait_for(lambda: len(witness.state()["listeners"]) == 5)
        asked = observed(witness)
        said, complained = process.communicate(timeout=90)
    assert process.returncode == 0, complained
    found = re.findall(r"(\d+) commands in (\d+) pictures and ([\d.]+) s, (\d+) gaps", said)[0]
    told, pictures, took, gaps = int(found[0]), int(found[1]), float(found[2]), int(found[3])
    # SDL itself has something to say about its disk driver; what the server refuses would stand there, too.
    assert all("CRITICAL" in line for line in complained.splitlines()), complained
    # Every picture has a new place.
    assert 3 <= told <= min(pictures, 10 * took + took / 2 + 1)
    assert asked, "under the tree the rain is duller"
    played = np.fromfile(tmp_path / "played.raw", "<f4")
    assert np.abs(played).max() > 1e-3 and np.isfinite(played).all()
    proofs.tell(
        Proof(
            "pygame (a walk)",
            f"three layers in space, {told} commands in {took:g} s of pictures; not compared: the mixer turns them",
            "",
            None,
            gaps,
        )
    )


def observed(witness: Witness) -> bool:
    """Whether the session hears of the tree and of the weather."""
    seen: set[str] = set()

    def both() -> bool:
        rain = witness.state()["layers"][0]
        seen.update(["tree"] if rain["high"] < -3 else [])
        seen.update(["weather"] if rain["prompts"] != "steady drizzle" else [])
        return len(seen) == 2

    return bool(wait_for(both))


class TestGame:
    def test_places_are_heard_where_they_are(self, clearing: ModuleType) -> None:
        here = clearing.Game(100.0, 100.0)
        left, right = clearing.volumes(here, (20.0, 100.0))
        assert left > right
        assert clearing.volumes(here, (100.0, 100.0)) == (1.0, 1.0)
        near, far = (math.hypot(*clearing.volumes(here, (100.0, 100.0 + d))) for d in (120, 240))
        assert near / far == pytest.approx(2)

    def test_many_pictures_say_little(self, clearing: ModuleType) -> None:
        sparing, said, before = Sparing(every=0.1, least=0.5), [], None
        game = clearing.Game(250.0, 160.0)
        for picture in range(600):
            game = clearing.moved(game, 0.25, 0.0, 1 / 60)
            said += clearing.commands(before, game, sparing, picture / 60)
            before = game
        assert all(isinstance(one, Mix) and one.layer == 0 for one in said) and 20 < len(said) < 80
        (changed,) = clearing.commands(before, clearing.Game(game.x, game.y, 2), sparing, 10.0)
        assert isinstance(changed, Prompt) and changed.layer == 0
