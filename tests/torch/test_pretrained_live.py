"""A mono model of 16 kHz through everything that makes sound: files, streams, live sessions, the server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from safa_stream import cli
from safa_stream.engine import chunks, resume
from safa_stream.models import load
from safa_stream.models.interface import Model
from safa_stream.rendering.metadata import read
from safa_stream.rendering.render import render
from safa_stream.scene import Scene
from safa_stream.session import messages as m
from safa_stream.session import snapshots
from safa_stream.session.livescene import LiveScene
from safa_stream.session.loops import make_loop
from tests.server.ws_rig import client, run, serving
from tests.session.stage import BLOCK, begun, hear, jumps, prompt
from tests.torch.checkpoints import write

pytestmark = pytest.mark.filterwarnings("ignore")
LICENCE = "cc-by-nc-sa-4.0"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models") / "tiny-audioldm2", "audioldm2")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return load(str(checkpoint), "torch")


def told(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_command_line_renders_it(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rain.wav"
    code, _, said = told(
        ["render", "rain on a tent", "--model", str(checkpoint), "--backend", "torch", "--steps", "2", "--duration",
         "1.5", "--out", str(out)],
        capsys,
    )  # fmt: skip
    assert code == 0 and f"tiny-audioldm2, licence {LICENCE}, 16 kHz mono" in said
    samples, rate = soundfile.read(out)
    assert (samples.shape, rate) == ((24000,), 16000) and samples.std() > 1e-3
    found = read(out)
    assert found.origin.licence == LICENCE and found.origin.model == "tiny-audioldm2"


@pytest.mark.parametrize("settings", [{"mode": "joint"}, {"mode": "joint", "loop": True}, {"method": "average"}])
def test_every_mode_renders_it(model: Model, settings: dict[str, object]) -> None:
    scene = Scene.from_prompt("rain", steps=2, **settings)
    made = render(scene, 0.8, model=model, rate=48000, channels=2)
    assert made.samples is not None and made.samples.shape[0] == 2
    assert abs(made.samples.shape[1] - 0.8 * 48000) <= 48000 * model.facts.samples_per_frame / 16000
    np.testing.assert_array_equal(made.samples[0], made.samples[1])


def test_processes_of_a_machine_share_its_weights(model: Model, checkpoint: Path) -> None:
    assert len(list(chunks(model, Scene.from_prompt("rain", steps=2), 1.0))) >= 1
    private = mapped(checkpoint)
    assert {path.parent.name for path in private} >= {"unet", "vae", "vocoder", "text_encoder"}
    # What a process has copied is its own; the rest is in memory once, whoever else has mapped the file.
    assert set(private.values()) == {0}


def mapped(folder: Path) -> dict[Path, int]:
    """Weight files of a folder that this process has mapped, and how much of each it has a copy of (kB)."""
    copied: dict[Path, int] = {}
    path = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and len(words) >= 5:
            path = Path(words[-1]) if words[-1].endswith(".safetensors") and str(folder) in words[-1] else None
        elif path and words[0] == "Anonymous:":
            copied[path] = copied.get(path, 0) + int(words[1])
    return copied


def test_a_stream_goes_on_from_a_snapshot(model: Model) -> None:
    stream = chunks(model, Scene.from_prompt("rain", steps=2), 3.0)
    next(stream)
    snapshot = stream.snapshot()
    expected = [chunk.samples for chunk in stream]
    assert expected and all(piece.shape[0] == 1 for piece in expected)
    for found, wanted in zip(resume(model, snapshot), expected, strict=True):
        np.testing.assert_array_equal(found.samples, wanted)


def test_a_session_of_it_is_stereo(model: Model) -> None:
    session = begun(model)
    first = hear(session, 1)
    session.receive(prompt("wind in the trees", now=True, morph=0.1))
    session.receive(m.AddLayer(prompts=prompt("far sea").prompts, ramp=0.1))
    middle = hear(session, 1)
    session.receive(m.Mix(layer=1, pan=-1.0, ramp=0.01))
    session.receive(m.Mix(layer=0, mute=True, ramp=0.01))
    panned = hear(session, 1)[:, 4000:]
    assert session.rate == 16000 and first.shape == (2, 17 * BLOCK) and first.std() > 1e-3
    np.testing.assert_allclose(first[0], first[1], atol=1e-6)
    assert jumps(np.concatenate([first, middle], axis=1)).max() < 60
    assert panned[0].std() > 100 * panned[1].std()


def test_a_session_goes_on_from_a_snapshot_and_makes_loops(model: Model) -> None:
    session = begun(model)
    hear(session, 0.5)
    restored = snapshots.restore(model, snapshots.capture(session).pack())
    np.testing.assert_array_equal(hear(restored, 0.5), hear(session, 0.5))
    hear(session, 8)
    session.receive(m.CaptureLoop(seconds=8.0))
    (capture,) = session.captures()
    loop = make_loop(capture)
    assert loop.shape == (2, 8 * 16000) and loop.std() > 1e-3


@pytest.mark.parametrize(("wanted", "rate"), [({}, 16000), ({"rate": 48000, "channels": 2}, 48000)])
def test_the_server_sends_it(model: Model, wanted: dict[str, int], rate: int) -> None:
    async def test() -> None:
        async with serving(model=model) as rig, client(rig) as raw:
            scene = LiveScene.from_value("rain").as_dict() | {"steps": 2}
            opened = await raw.ask("open", scene=scene, format="s16", pacing="pull", **wanted)
            assert (opened["rate"], opened["channels"], opened["session_rate"]) == (rate, 2, 16000)
            await raw.say("grant", samples=8000)
            frames = await raw.hear(5)
            assert all((header.rate, header.channels) == (rate, 2) for header, _, _ in frames)
            assert any(np.frombuffer(payload, "<i2").std() > 10 for _, payload, _ in frames)

    run(test())


def test_models_lists_what_is_here(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = told(["models", str(checkpoint.parent), "--json"], capsys)
    rows = {row["model"]: row for row in json.loads(said)["models"]}
    assert code == 0 and rows["builtin"]["installed"] and rows["builtin"]["sample_rate"] == 48000
    assert {row["licence"] for name, row in rows.items() if name.startswith("cvssp/")} == {LICENCE}
    ours = rows[str(checkpoint)]
    assert (ours["installed"], ours["licence"], ours["sample_rate"], ours["channels"]) == (True, LICENCE, 16000, 1)
    assert ours["pipeline"] == "AudioLDM2Pipeline" and ours["gigabytes"] >= 0
    code, table, _ = told(["models"], capsys)
    assert code == 0 and "cvssp/audioldm2" in table and "kHz" in table
