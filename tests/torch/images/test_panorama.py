"""Panoramas from the command line and from Python, with small pipelines of the real classes."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from safa_stream import joint
from safa_stream.cli import panorama as command
from safa_stream.cli.main import main
from safa_stream.errors import FailureError, LayoutError, UsageError
from safa_stream.models.images.base import PretrainedImages
from safa_stream.models.images.families import open_images
from safa_stream.operators import self_loop_mask
from safa_stream.rendering import panorama
from safa_stream.rendering.panorama import Planned
from safa_stream.rendering.wanted import Panorama
from safa_stream.scene import METHODS, parse_prompts
from safa_stream.solvers import step
from safa_stream.views import Batch

Pipelines = dict[str, tuple[Path, Any]]
KINDS = ("epsilon", "flow")
#: A view has 16 latent columns and 16 rows of 2 pixels.
SCALE, VIEW = 2, 16


def planned(folder: Path, **settings: Any) -> tuple[Planned, Panorama]:
    wanted = Panorama(parse_prompts("lake, hills:0.5"), **{"width": 150, "steps": 3} | settings)
    return panorama.plan(open_images(folder, "torch"), wanted), wanted


def views(plan: Planned, wanted: Panorama) -> np.ndarray:
    """Every view's final latents [n, C, T, F]."""
    encoded = plan.model.encode(wanted.prompts, wanted.negative)
    canvas = plan.canvas
    made = joint.denoise_views(plan.model, plan.plan, canvas.spans, canvas.width, encoded, plan.guidance)
    return plan.model.to_numpy(made)


@pytest.mark.parametrize("kind", KINDS)
def test_every_overlap_column_is_one_parents(made_pipelines: Pipelines, kind: str) -> None:
    plan, wanted = planned(made_pipelines[kind][0], method="safa-self", steps=1, circular=True)
    merged = views(plan, wanted)
    spans, width = plan.canvas.spans, plan.canvas.width
    x = joint._first_states(plan.model, plan.plan, spans, width, with_reference=False)
    batch = Batch([plan.model.encode(wanted.prompts, wanted.negative)] * len(spans), plan.guidance)
    m = plan.model.denoise(x, *batch.told(x, plan.plan.table.timesteps[0]))
    parents = plan.model.to_numpy(step(plan.plan.table.row(0), x, m, None)[0])
    for left, right in zip(range(len(spans)), [*range(1, len(spans)), 0], strict=True):
        shared = VIEW - (spans[right].start - spans[left].start) % width
        mask = self_loop_mask(shared)
        assert shared >= 2
        assert np.array_equal(merged[left, :, -shared:], merged[right, :, :shared])
        assert np.allclose(merged[left, :, -shared:][:, mask], parents[left, :, -shared:][:, mask], atol=1e-5)
        assert np.allclose(merged[left, :, -shared:][:, ~mask], parents[right, :, :shared][:, ~mask], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_lends_every_second_row(made_pipelines: Pipelines, kind: str) -> None:
    plan, wanted = planned(made_pipelines[kind][0], reference_ratio=1.0, overlap=0.25)
    made = views(plan, wanted)
    middle = made[:, :, 8:-8]
    for view in range(1, len(made)):
        assert np.array_equal(middle[view][..., 1::2], middle[0][..., 1::2])
        assert not np.isclose(middle[view][..., ::2], middle[0][..., ::2]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_circle_tiled_twice_shows_no_seam(made_pipelines: Pipelines, kind: str) -> None:
    plan, wanted = planned(made_pipelines[kind][0], width=200, circular=True)
    made = panorama.make(plan, wanted)
    assert made is not None and made.pixels.shape == (32, 200, 3)
    tiled = np.concatenate([made.pixels, made.pixels], axis=1).astype(float)
    change = np.abs(np.diff(tiled, axis=1)).mean(axis=(0, 2))
    inside = np.delete(change, 199)
    assert change[199] <= inside.max() and change[199] < inside.mean() + 3 * inside.std()


def test_a_line_ends_at_its_ends_and_a_circle_goes_round(made_pipelines: Pipelines) -> None:
    folder = made_pipelines["flow"][0]
    line, circle = (planned(folder, width=200, circular=circular)[0] for circular in (False, True))
    assert line.canvas.spans[-1].stop == line.canvas.width == 100
    assert circle.canvas.spans[-1].stop > circle.canvas.width == 100


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_picture(made_pipelines: Pipelines, method: str) -> None:
    plan, wanted = planned(made_pipelines["flow"][0], method=method, steps=2)
    first, again, other = (
        panorama.make(plan, wanted),
        panorama.make(plan, wanted),
        panorama.make(*planned(made_pipelines["flow"][0], method=method, steps=2, seed=1)),
    )
    assert first is not None and again is not None and other is not None
    assert first.pixels.shape == (32, 150, 3) and first.pixels.std() > 5
    assert np.array_equal(first.pixels, again.pixels) and not np.array_equal(first.pixels, other.pixels)


def test_averages_take_any_stride_and_swaps_two_views_at_most(made_pipelines: Pipelines) -> None:
    folder = made_pipelines["epsilon"][0]
    plan, _ = planned(folder, method="average", stride=4, width=152)
    assert [span.start for span in plan.canvas.spans] == list(range(0, 61, 2))
    with pytest.raises(LayoutError, match="half"):
        planned(folder, method="safa", stride=4)
    with pytest.raises(LayoutError, match="gaps"):
        planned(folder, method="average", stride=64)


def test_what_is_not_a_whole_latent_is_rounded_and_said(made_pipelines: Pipelines) -> None:
    plan, _ = planned(made_pipelines["epsilon"][0], width=151, height=43, view=39)
    assert (plan.width, plan.model.facts.height, plan.plan.layout.view) == (152, 44, 20)
    assert [note.split(":")[0] for note in plan.notes] == [
        "the height is 44 pixels instead of 43",
        "the view is 40 pixels instead of 39",
        "the width is 152 pixels instead of 151",
    ]


def test_looks_come_nearer_to_the_picture(made_pipelines: Pipelines) -> None:
    """On the way from noise a look shows ever more of what the finished latents show when reduced alike."""
    plan, wanted = planned(made_pipelines["flow"][0], width=300, steps=20)
    looks: list[np.ndarray] = []
    made, plain = panorama.make(plan, wanted, look=looks.append), panorama.make(plan, wanted)
    assert made is not None and plain is not None and np.array_equal(made.pixels, plain.pixels)
    assert len(looks) == panorama.LOOKS - 1 and {seen.shape for seen in looks} == {(16, 150, 3)}
    encoded, canvas = plan.model.encode(wanted.prompts, wanted.negative), plan.canvas
    latents = joint.generate(plan.model, plan.plan, canvas.spans, encoded, plan.guidance, width=canvas.width)
    last = plan.model.decode(panorama.reduced_latents(latents, 2), False).astype(float)
    away = [float(np.abs(seen - last).mean()) for seen in looks]
    assert away[-1] < 0.5 * away[0]


def test_reduced_latents_are_means_of_squares() -> None:
    latents = np.arange(2 * 5 * 4, dtype=np.float32).reshape(2, 5, 4)
    reduced = panorama.reduced_latents(latents, 2)
    assert reduced.shape == (2, 2, 2) and reduced[0, 0, 0] == latents[0, :2, :2].mean()


def test_the_preview_is_there_while_the_steps_run(
    made_pipelines: Pipelines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, sizes = tmp_path / "small.png", []

    def told(self: object, text: str) -> None:
        if small.exists():
            with Image.open(small) as picture:
                sizes.append((text.split("  ")[0], picture.size))

    monkeypatch.setattr(command.StatusLine, "show", told)
    words = ["--out", str(tmp_path / "pano.png"), "--preview", str(small), "--width", "300", "--steps", "4"]
    assert main(["panorama", "lake", "--model", str(made_pipelines["flow"][0]), "--backend", "torch", *words]) == 0
    assert sizes[0] == ("step 1 of 4", (150, 16))
    with Image.open(small) as picture:
        assert picture.size == (300, 32)


def test_a_stop_leaves_nothing(made_pipelines: Pipelines) -> None:
    plan, wanted = planned(made_pipelines["flow"][0], width=300)
    seen: list[str] = []

    def stop_after(count: int) -> Any:
        return panorama.make(plan, wanted, lambda told: seen.append(told.part), lambda: len(seen) >= count)

    assert stop_after(2) is None and set(seen) == {"step"}
    assert stop_after(8) is None and seen[-1] == "window"


def test_memory_that_does_not_suffice_is_said_in_pictures_words(
    made_pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*given: object) -> torch.Tensor:
        return torch.empty(1 << 60)

    plan, wanted = planned(made_pipelines["flow"][0])
    monkeypatch.setattr(PretrainedImages, "_call", none_left)
    with pytest.raises(FailureError, match="out of memory on the CPU; try --batch 1"):
        panorama.make(plan, wanted)


def run(folder: Path, *words: str) -> int:
    return main(
        ["panorama", "lake, hills at dusk", "--model", str(folder), "--steps", "2", "--backend", "torch", *words]
    )


def test_the_command_writes_a_picture_that_says_how_it_was_made(
    made_pipelines: Pipelines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, small = tmp_path / "pano.png", tmp_path / "small.png"
    words = ["--out", str(out), "--preview", str(small), "--width", "1601", "--negative", "fog", "--circular", "--json"]
    assert run(made_pipelines["flow"][0], *words) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["file"] == str(out) and result["preview"] == str(small)
    assert (result["width"], result["height"], result["method"], result["circular"]) == (1600, 32, "safa", True)
    assert result["overlap"] == round(32 - 1600 / 62) == 6
    assert result["views"] == 62 and result["run_time_s"] > 0 and "1600 pixels instead of 1601" in result["notes"][0]
    assert "licence openrail++" in printed.err and "1600 pixels instead of 1601" in printed.err
    with Image.open(out) as picture:
        assert picture.size == (1600, 32)
        assert isinstance(picture, PngImageFile)
        said = json.loads(picture.text["Comment"])
        assert picture.text["Title"] == "lake, hills at dusk"
    assert said["prompt"] == "lake, hills at dusk" and said["seed"] == 0 and said["licence"] == "openrail++"
    assert said["model"] == "flow" and said["method"] == "safa" and said["negative"] == "fog"
    with Image.open(small) as picture:
        assert picture.size == (1024, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pano.png", "small.png"]


@pytest.mark.parametrize("name", ["pano.jpg", "pano.webp"])
def test_other_formats_carry_the_same(made_pipelines: Pipelines, tmp_path: Path, name: str) -> None:
    assert run(made_pipelines["epsilon"][0], "--out", str(tmp_path / name), "--width", "100", "--quiet") == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.size == (100, 32)
        assert json.loads(picture.getexif()[0x010E])["prompt"] == "lake, hills at dusk"


def test_existing_files_are_kept_unless_forced(
    made_pipelines: Pipelines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pano.png"
    out.write_bytes(b"mine")
    assert run(made_pipelines["flow"][0], "--out", str(out)) == 1
    assert out.read_bytes() == b"mine" and "--force" in capsys.readouterr().err
    assert run(made_pipelines["flow"][0], "--out", str(out), "--width", "64", "--force", "--quiet") == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_ends_after_the_step_and_leaves_no_file(
    made_pipelines: Pipelines, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    call = PretrainedImages._call

    def pressed(self: PretrainedImages, *given: Any) -> torch.Tensor:
        called.append(1)
        if len(called) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return call(self, *given)

    monkeypatch.setattr(PretrainedImages, "_call", pressed)
    assert run(made_pipelines["flow"][0], "--out", str(tmp_path / "pano.png"), "--width", "200") == 130
    assert list(tmp_path.iterdir()) == []
    assert "interrupted: nothing was finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--out", "pano.gif"], 2, "ends in .png"),
        (["--out", "nowhere/pano.png"], 1, "does not exist"),
        (["--overlap", "1.5"], 2, "share of the view"),
        (["--overlap", "0.8"], 2, "half"),
        (["--overlap", "0.2", "--stride", "8"], 2, "give one of them"),
        (["--height", "90"], 2, "at most 64 pixels"),
        (["--view", "80"], 2, "at most 64 pixels"),
        (["--guidance", "nan"], 2, "a number from 0 on"),
        (["--seed", "-1"], 2, "from 0 to"),
        (["--steps", "2000"], 2, "from 1 to 1000"),
        (["--reference-ratio", "2"], 2, "between 0 and 1"),
        (["--width", "9999999"], 2, "from 1 to 262144"),
        (["--out", "pano.webp", "--width", "20000"], 2, "at most 16383"),
        (["--backend", "onnx"], 1, "run on the backends torch"),
        (["--negative", " "], 2, "empty"),
        (["--method", "syncdiffusion"], 2, "--perceptual FILE"),
        (["--method", "syncdiffusion", "--perceptual", "vgg.safetensors"], 1, "no safetensors file"),
        (["--method", "mad", "--attend-ratio", "3"], 2, "attend ratio"),
    ],
)
def test_what_cannot_be_is_one_line(
    made_pipelines: Pipelines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(made_pipelines["flow"][0], *words) == code
    printed = capsys.readouterr().err.strip().splitlines()
    assert said in printed[-1] and len(printed) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_panorama_needs_words(made_pipelines: Pipelines) -> None:
    wanted = Panorama(parse_prompts("lake"))
    with pytest.raises(UsageError, match="say what is to be seen"):
        replace(wanted, prompts=())
