"""MAD and SyncDiffusion on models of sounds: the built-in networks, and small pipelines of the real classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from safa_stream import engine, joint
from safa_stream.cli import main
from safa_stream.coupling import DECAY, Coupling
from safa_stream.errors import ModelError, SceneError, UsageError
from safa_stream.evaluation.wrapping import TimedModel
from safa_stream.layout import ViewLayout
from safa_stream.models import load
from safa_stream.models.backends.spec import parse
from safa_stream.models.interface import repeat
from safa_stream.models.merging import require_eager
from safa_stream.models.pretrained.families import open_pretrained
from safa_stream.models.synchronising import synchronised
from safa_stream.rendering import metadata
from safa_stream.rendering.render import render
from safa_stream.scene import Scene
from tests.exporters.small_models import small_model
from tests.torch.checkpoints import write
from tests.torch.waveform_models import SMALL, saved

pytestmark = pytest.mark.filterwarnings("ignore")
SPECTRA, GUIDANCE, STEPS = ("audioldm", "audioldm2"), 3.0, 3
NAMES = ("dit", "unet", *SPECTRA, "stable-audio", "stable-audio-3-base", "ace-step", "longcat")
#: Those whose attention is to sound alone, and those with tokens that stand for all of the sound, which views share.
WITHOUT_TEXT, WITH_MEMORY = ("dit", "unet", "audioldm"), ("stable-audio-3-base",)


class Shelf:
    """Models by NAMES, each made when it is first asked for; their views have 32 frames."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, dict[str, Any]()

    def __call__(self, name: str) -> Any:
        if name not in self.made:
            folder = self.folder / name
            if name in ("dit", "unet"):
                small_model(folder, name, graphs=False)
                self.made[name] = load(str(folder), "torch")
            else:
                saved(name, folder) if name in SMALL else write(folder, name)
                self.made[name] = open_pretrained(folder, "torch")
        return self.made[name]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("models"))


def canvas(model: Any, method: str, views: int = 3, circular: bool = False, **numbers: Any) -> np.ndarray:
    """Latents [C, W, F] of views of 32 frames that share 8."""
    coupling, table, layout = Coupling(method, **numbers), model.solver(STEPS), ViewLayout(32, 8, 8)
    plan = joint.JointPlan(layout, table, coupling.joined, circular=circular, max_batch=coupling.batch(views, 8))
    spans, encoded = plan.spans(views), model.encode(Scene.from_prompt("rain").prompts, (), 0)
    width = plan.width(spans)
    likeness = model.likeness(None) if method == "syncdiffusion" else None
    hooks = coupling.hooks(model, table, spans, width, encoded, GUIDANCE, likeness)
    made = joint.generate(model, plan, spans, encoded, GUIDANCE, width=width, hooks=hooks)
    return np.asarray(model.to_numpy(made))


def states(model: Any, count: int, seed: int = 1) -> torch.Tensor:
    """Noise [count, C, 32, F]."""
    shape = (count, model.facts.latent_channels, 32, model.facts.latent_bins)
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_one_view_alone_is_plain_sampling(models: Shelf, name: str) -> None:
    model = models(name)
    plain = canvas(model, "average", 1)
    for method, numbers in (("mad", {"attend_ratio": 1.0}), ("syncdiffusion", {})):
        assert np.allclose(canvas(model, method, 1, **numbers), plain, atol=1e-4 * np.abs(plain).max())


@pytest.mark.parametrize("name", NAMES)
def test_views_that_share_no_frame_hear_each_other_in_self_attention(models: Shelf, name: str) -> None:
    model = models(name)
    encoded = model.encode(Scene.from_prompt("rain").prompts, (), 0)
    told, away = (repeat(row, 2) for row in (encoded.conditioning, encoded.negative))
    x, time = states(model, 2), model.solver(STEPS).timesteps[1]
    other = torch.cat([x[:1], x[1:].flip(2)])
    times, guidance = torch.full((2,), time), torch.full((2,), GUIDANCE)

    def first(latents: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(model.denoise(latents, times, told, away, guidance)[0])

    # A transformer that is shown mirrored frames after a view's end has them lie on the next one's first.
    starts, width = ([0, 40], 72) if name == "dit" else ([0, 32], 64)
    apart = first(x)
    assert torch.allclose(apart, first(other), atol=1e-5 * float(apart.abs().max()))
    if name not in WITH_MEMORY:
        with model.merging(starts, 32, width, time, False):
            assert torch.allclose(first(x), first(other), atol=1e-5 * float(apart.abs().max()))
    with model.merging(starts, 32, width, time, True):
        assert not torch.allclose(first(x), first(other), atol=1e-5 * float(apart.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_mad_averages_where_nothing_is_merged(models: Shelf, name: str) -> None:
    model = models(name)
    averaged, merged, queries = (
        canvas(model, "average"),
        canvas(model, "mad", attend_ratio=1.0),
        canvas(model, "mad", attend_ratio=0.0),
    )
    assert not np.allclose(merged, averaged, atol=1e-5)
    assert np.array_equal(queries, averaged) == (name in WITHOUT_TEXT)


@pytest.mark.parametrize("name", NAMES)
def test_a_synchronised_step_brings_views_nearer_to_the_middle_one(models: Shelf, name: str) -> None:
    model = models(name)
    encoded = model.encode(Scene.from_prompt("rain").prompts, (), 0)
    table, likeness = model.solver(STEPS), model.likeness(None)
    # States of different levels, as views that differ in more than chance.
    views, row, time = states(model, 3) * torch.tensor([0.8, 1.0, 1.2])[:, None, None, None], table.row(1), 1

    def apart(given: torch.Tensor) -> torch.Tensor:
        told = (repeat(side, 3) for side in (encoded.conditioning, encoded.negative))
        with torch.no_grad():
            m = model.denoise(given, torch.full((3,), table.timesteps[time]), *told, torch.full((3,), GUIDANCE))
            shown = likeness.shown(row.P * given + row.Q * m)
            return torch.as_tensor(likeness.distance(shown, shown[1:2].expand_as(shown)))

    step = (model, likeness, views, table.timesteps[time], row, encoded, GUIDANCE)
    still, full = synchronised(*step, 0.0), synchronised(*step, 1.0)
    assert torch.equal(still, views) and not full.requires_grad
    moved = full - views
    assert moved[0].abs().max() > 0 and moved[1].abs().max() == 0 and moved[2].abs().max() > 0
    # A gradient is that of a small step.
    near = views + moved * (1e-2 / moved.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-20))
    before, after = apart(views), apart(near)
    assert after[0] < before[0] and after[2] < before[2]


def test_synchronised_views_are_averaged(models: Shelf) -> None:
    model = models("dit")
    averaged = canvas(model, "average", circular=True)
    for numbers in ({"sync_weight": 0.0}, {"sync_steps": 0}):
        assert np.array_equal(canvas(model, "syncdiffusion", circular=True, **numbers), averaged)
    assert not np.array_equal(canvas(model, "syncdiffusion", circular=True, sync_steps=1), averaged)


def test_the_shipped_models_views_become_more_alike(models: Shelf) -> None:
    model = load("builtin", "torch")
    likeness, canvases = model.likeness(None), (canvas(model, "average"), canvas(model, "syncdiffusion"))
    views = [torch.from_numpy(np.stack([made[:, at : at + 32] for at in (0, 24, 48)])) for made in canvases]
    shown = [likeness.shown(rows) for rows in views]
    apart = [float(likeness.distance(rows, rows[1:2].expand_as(rows)).sum()) for rows in shown]
    assert apart[1] < 0.9 * apart[0]
    # The latents are a linear image of the spectrum: what is shown is what the model itself says, in amplitudes.
    assert np.allclose(shown[0].numpy(), model.log_mel(views[0]) / 2, atol=1e-4)


@pytest.mark.parametrize("name", ["dit", "audioldm2"])
@pytest.mark.parametrize("method", ["mad", "syncdiffusion"])
def test_a_loop_has_no_place_of_its_own(models: Shelf, name: str, method: str) -> None:
    model = models(name)
    line, circle = (canvas(model, method, circular=circular) for circular in (False, True))
    assert line.shape[1] == 80 and circle.shape[1] == 72 and np.isfinite(circle).all()
    assert not np.allclose(circle[:, :8], line[:, :8], atol=1e-3)


def test_weights_fall_and_only_the_first_steps_count(models: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def noting(*given: Any) -> torch.Tensor:
        seen.append(given[-1])
        return torch.as_tensor(given[2])

    monkeypatch.setattr("safa_stream.models.synchronising.synchronised", noting)
    canvas(models("unet"), "syncdiffusion", sync_weight=4.0, sync_steps=2)
    assert seen == pytest.approx([4.0, 4.0 * DECAY])


def test_the_denoisers_calls_are_counted_alike(models: Shelf) -> None:
    watched = {method: TimedModel(models("dit")) for method in ("average", "mad", "syncdiffusion")}
    for method, model in watched.items():
        canvas(model, method, sync_steps=2)
    rows = {method: model.clock.rows for method, model in watched.items()}
    assert rows == {"average": 3 * STEPS, "mad": 3 * STEPS, "syncdiffusion": 3 * STEPS + 3 * 2}


def vgg(path: Path) -> Path:
    """A narrow VGG16's weights."""
    torch.manual_seed(2)
    sizes, weights = {0: 3, 2: 4, 5: 4, 7: 6, 10: 6, 12: 8, 14: 8, 17: 8, 19: 8, 21: 8, 24: 8, 26: 8, 28: 8}, {}
    made = [4, 4, 6, 6, *[8] * 9]
    for (layer, taken), out in zip(sizes.items(), made, strict=True):
        weights[f"features.{layer}.weight"] = torch.randn(out, taken, 3, 3) / 3
        weights[f"features.{layer}.bias"] = torch.zeros(out)
    save_file(weights, path)
    return path


def test_a_network_of_ones_own_compares_pictures_of_the_spectra(models: Shelf, tmp_path: Path) -> None:
    model = models("dit")
    likeness = model.likeness(vgg(tmp_path / "vgg.safetensors"))
    assert likeness.name == "LPIPS by vgg.safetensors"
    shown = likeness.shown(states(model, 2))
    assert shown.shape == (2, 3, 96, 128)
    assert likeness.distance(shown, shown).abs().max() == 0 and likeness.distance(shown[:1], shown[1:]) > 0
    scene = Scene.from_prompt("rain", mode="joint", method="syncdiffusion", steps=2, sync_steps=1)
    made = render(scene, 7.0, tmp_path / "a.wav", model=model, perceptual=tmp_path / "vgg.safetensors")
    described = metadata.read(tmp_path / "a.wav")
    assert made.distance == described.origin.distance == likeness.name
    assert "--perceptual vgg.safetensors" in metadata.command(described)
    with pytest.raises(UsageError, match="is for method syncdiffusion, not for mad"):
        render(Scene.from_prompt("rain", mode="joint", method="mad"), 9.0, model=model, perceptual=tmp_path / "v")


def render_command(models: Shelf, *words: str) -> int:
    folder = models("dit") and models.folder / "dit"
    common = ("--model", str(folder), "--duration", "7", "--steps", "2", "--quiet", "--json")
    return main(["render", "rain", *common, *words])


def test_the_command_renders_joint_sounds_and_loops(
    models: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sync = ("--mode", "joint", "--method", "syncdiffusion", "--sync-weight", "3", "--sync-steps", "1")
    assert render_command(models, "--backend", "torch", "--out", "a.wav", *sync) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["method"], told["distance"], told["seconds"]) == ("syncdiffusion", "log-mel statistics", 7.0)
    described = metadata.read(tmp_path / "a.wav")
    assert (described.origin.scene.sync_weight, described.origin.scene.sync_steps) == (3.0, 1)
    assert "--method syncdiffusion --sync-weight 3.0 --sync-steps 1 --mode joint" in metadata.command(described)
    assert render_command(models, "--backend", "torch", "--out", "b.wav", "--loop", "--method", "mad") == 0
    told = json.loads(capsys.readouterr().out)
    # Whole steps of eight frames of 1/25 s, on which all layers have a place.
    assert (told["method"], told["distance"], told["seconds"]) == ("mad", None, pytest.approx(22 * 0.32))


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("--method", "mad"), "'method' mad needs mode 'joint'", 2),
        (("--method", "syncdiffusion", "--mode", "stream"), "'method' syncdiffusion needs mode 'joint'", 2),
        (("--method", "mad", "--mode", "joint", "--backend", "torch", "--attend-ratio", "2"), "'attend_ratio'", 2),
        (("--mode", "joint", "--backend", "torch", "--perceptual", "a"), "method syncdiffusion, not for safa", 2),
        (
            ("--method", "syncdiffusion", "--mode", "joint", "--backend", "torch", "--perceptual", "a"),
            "a is no safetensors file",
            1,
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_file(
    models: Shelf,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert render_command(models, "--out", "a.wav", *words) == code
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["mad", "syncdiffusion"])
def test_graphs_are_closed_and_say_which_backend_is_not(method: str) -> None:
    scene = Scene.from_prompt("rain", mode="joint", method=method)
    with pytest.raises(ModelError, match=f"method {method} .* backend onnx .* --backend torch"):
        engine.whole(load("builtin", "onnx"), scene, 9.0)
    with pytest.raises(SceneError, match="needs mode 'joint'"):
        Scene.from_prompt("rain", method=method)


@pytest.mark.parametrize("backend", ["torch:compile", "torch-cuda:cuda-graphs"])
def test_compiled_networks_are_closed_to_mad(backend: str) -> None:
    require_eager(parse("torch-cuda:bf16"))
    with pytest.raises(UsageError, match="does not take the backend option compile"):
        require_eager(parse(backend))


@pytest.mark.parametrize("method", ["mad", "syncdiffusion"])
def test_stopped_on_the_way_nothing_is_left(models: Shelf, tmp_path: Path, method: str) -> None:
    scene = Scene.from_prompt("rain", mode="joint", method=method, steps=3)
    made = render(scene, 7.0, tmp_path / "a.wav", model=models("dit"), stop=lambda: True)
    assert made.interrupted and made.file is None and not list(tmp_path.iterdir())
