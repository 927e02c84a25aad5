"""SyncDiffusion: the perceptual distance against its formula, and what a synchronised step does to views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from safa_stream.errors import ModelError, UsageError
from safa_stream.models.images.families import open_images
from safa_stream.models.perceptual import Perceptual
from safa_stream.models.synchronising import synchronised
from safa_stream.rendering import panorama
from safa_stream.rendering.wanted import Panorama
from safa_stream.scene import parse_prompts

Pipelines = dict[str, tuple[Path, Any]]
#: VGG16's list, narrow: numbers are convolutions, each followed by a ReLU; "M" halves.
LAYERS: list[int | str] = [4, 4, "M", 6, 6, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8]


def vgg() -> nn.Sequential:
    """As torchvision lays it out, with random weights."""
    torch.manual_seed(9)
    modules: list[nn.Module] = []
    width = 3
    for layer in LAYERS:
        if isinstance(layer, str):
            modules.append(nn.MaxPool2d(2))
        else:
            modules += [nn.Conv2d(width, layer, 3, padding=1), nn.ReLU()]
            width = layer
    return nn.Sequential(*modules).requires_grad_(False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a small VGG16's weights."""
    path = tmp_path_factory.mktemp("vgg") / "model.safetensors"
    save_file({f"features.{name}": value for name, value in vgg().state_dict().items()}, path)
    return path


@pytest.mark.parametrize("weighted", [False, True])
def test_the_distance_is_that_of_normed_features_after_five_blocks(
    weights: Path, tmp_path: Path, weighted: bool
) -> None:
    network, path = vgg(), weights
    sizes = (4, 6, 8, 8, 8)
    lins = [torch.rand(1, size, 1, 1) for size in sizes]
    if weighted:
        path = tmp_path / "lpips.safetensors"
        stored = {f"features.{name}": value for name, value in network.state_dict().items()}
        save_file(stored | {f"lin{block}.model.1.weight": lin for block, lin in enumerate(lins)}, path)
    first, second = torch.rand(2, 2, 3, 32, 48).mul(2).sub(1)
    expected = torch.zeros(2)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    for block, end in enumerate((3, 8, 15, 22, 29)):
        a, b = (network[: end + 1]((x - shift[:, None, None]) / scale[:, None, None]) for x in (first, second))
        apart = (nn.functional.normalize(a, dim=1) - nn.functional.normalize(b, dim=1)) ** 2
        expected += ((apart * lins[block]) if weighted else apart).sum(dim=1).mean(dim=(1, 2))
    likeness = Perceptual.read(path, torch.device("cpu"))
    assert torch.allclose(likeness.distance(first, second), expected, atol=1e-5)
    assert likeness.distance(first, first).abs().max() == 0


@pytest.mark.parametrize("kind", ["epsilon", "flow"])
def test_a_synchronised_step_brings_views_nearer_to_the_middle_one(
    made_pipelines: Pipelines, weights: Path, kind: str
) -> None:
    model = open_images(made_pipelines[kind][0], "torch")
    encoded = model.encode(parse_prompts("lake"), ())
    likeness, table = model.likeness(weights), model.solver(5)
    views = torch.randn(3, model.facts.latent_channels, 16, 16, generator=torch.Generator().manual_seed(2))

    def apart(states: torch.Tensor) -> torch.Tensor:
        told = [{name: rows.expand(3, *rows.shape[1:]) for name, rows in side.tensors.items()} for side in sides]
        m = model.denoise(states, torch.full((3,), table.timesteps[2]), *(type(sides[0])(t) for t in told), guidance)
        row = table.row(2)
        with torch.no_grad():
            seen = likeness.shown(row.P * states + row.Q * m)
            return torch.as_tensor(likeness.distance(seen, seen[1:2].expand_as(seen)))

    sides, guidance = (encoded.conditioning, encoded.negative), torch.full((3,), 4.0)
    step = (model, likeness, views, table.timesteps[2], table.row(2), encoded, 4.0)
    moved = synchronised(*step, 0.02)
    assert torch.equal(moved[1], views[1]) and not moved.requires_grad
    before, after = apart(views), apart(moved)
    assert after[0] < before[0] and after[2] < before[2]
    assert torch.equal(synchronised(*step, 0.0), views)


def pixels(folder: Path, **settings: Any) -> np.ndarray:
    wanted = Panorama(parse_prompts("lake"), **{"width": 90, "steps": 3, "overlap": 0.5} | settings)
    made = panorama.make(panorama.plan(open_images(folder, "torch"), wanted), wanted)
    assert made is not None
    return made.pixels


@pytest.mark.parametrize("kind", ["epsilon", "flow"])
def test_its_panoramas_are_averages_of_synchronised_views(made_pipelines: Pipelines, weights: Path, kind: str) -> None:
    folder = made_pipelines[kind][0]
    sync: dict[str, Any] = {"method": "syncdiffusion", "perceptual": weights}
    average = pixels(folder, method="average")
    assert np.array_equal(pixels(folder, **sync, sync_steps=0), average)
    assert not np.array_equal(pixels(folder, **sync, sync_steps=1), average)


def test_its_weight_falls_from_step_to_step(
    made_pipelines: Pipelines, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def noting(*given: Any) -> torch.Tensor:
        seen.append(given[-1])
        return synchronised(*given)

    monkeypatch.setattr("safa_stream.models.synchronising.synchronised", noting)
    pixels(made_pipelines["flow"][0], method="syncdiffusion", perceptual=weights, steps=4, sync_steps=3, width=48)
    assert seen == pytest.approx([20.0, 19.0, 18.05])


def test_it_needs_the_weights_of_its_network(made_pipelines: Pipelines, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--perceptual FILE"):
        Panorama(parse_prompts("lake"), method="syncdiffusion")
    with pytest.raises(UsageError, match="numbers from 0 on"):
        Panorama(parse_prompts("lake"), sync_weight=-1.0)
    model = open_images(made_pipelines["flow"][0], "torch")
    for name, content, said in (
        ("nowhere", None, "no safetensors file"),
        ("pickled.pth", b"\x80\x02", "no safetensors file"),
        ("other", {"a": torch.zeros(1)}, "no features.0.weight"),
    ):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            save_file(content, path)
        with pytest.raises(ModelError, match=said) as error:
            model.likeness(path)
        assert "\n" not in str(error.value)
