"""The panorama experiment's columns on known pictures, and the commands with small networks of real classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from safa_exporters.sources.pictures import ARCHITECTURES, random_model
from safa_stream.cli import main
from safa_stream.errors import ModelError, UsageError
from safa_stream.evaluation.images import measures, networks
from safa_stream.evaluation.images.networks import CONVOLUTIONS, Style
from safa_stream.models.perceptual import BLOCKS, Perceptual
from tests.torch.images import pictures

DRAW = np.random.default_rng(0)


def noise(count: int, level: int = 128, width: int = 64) -> list[np.ndarray]:
    return [np.clip(DRAW.normal(level, 30, (32, width, 3)), 0, 255).astype(np.uint8) for _ in range(count)]


class Means(nn.Module):
    """Embeds a picture as the means of its colours."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given.float().mean((2, 3)) / 255


MEANS = networks.Embedding("means", Means(), 32)


def vgg(folder: Path, layers: tuple[int, ...], widths: tuple[int, ...]) -> Path:
    """A VGG's convolutions with random weights, narrow, under torchvision's names."""
    weights, before = {}, 3
    for layer, width in zip(layers, widths, strict=True):
        weights[f"features.{layer}.weight"] = torch.randn(width, before, 3, 3) * (2.0 / (9 * before)) ** 0.5
        weights[f"features.{layer}.bias"] = torch.zeros(width)
        before = width
    save_file(weights, folder / "vgg.safetensors")
    return folder / "vgg.safetensors"


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layers = tuple(layer for block in BLOCKS for layer in block)
    return vgg(tmp_path_factory.mktemp("vgg16"), layers, (4,) * len(layers))


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vgg(tmp_path_factory.mktemp("vgg19"), CONVOLUTIONS, (4,) * 5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP with its processor."""
    folder = tmp_path_factory.mktemp("clip")
    text = pictures.clip_config().to_dict()
    sight = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    sight |= {"image_size": 32, "patch_size": 16}
    config = pictures.models.CLIPConfig(text_config=text, vision_config=sight, projection_dim=16)
    torch.manual_seed(0)
    pictures.models.CLIPModel(config).save_pretrained(folder)
    pictures.clip_tokenizer().save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    seen = {"image_processor_type": "CLIPImageProcessor", **sizes}
    (folder / "preprocessor_config.json").write_text(json.dumps(seen))
    return folder


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of transformers that embeds pictures."""
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    pictures.models.ViTModel(pictures.models.ViTConfig(image_size=32, patch_size=16, **sizes)).save_pretrained(folder)
    seen = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(seen))
    return folder


def test_distances_are_small_between_like_sets_and_large_between_unlike() -> None:
    one, two, dark = noise(8), noise(8), noise(8, 60)
    assert measures.fid(one, two, MEANS) < 0.1 * measures.fid(one, dark, MEANS)
    assert abs(measures.kid(one, two, MEANS)) < 0.1 * measures.kid(one, dark, MEANS)
    assert np.isnan(measures.fid(one[:1], two, MEANS)) and np.isnan(measures.kid(one[:2], two, MEANS))
    # Two sets of one mean and spread each: FID is the squared distance of the means.
    shift = [np.clip(picture.astype(int) + 20, 0, 255).astype(np.uint8) for picture in one]
    wanted = sum((np.mean(shift, (0, 1, 2)) / 255 - np.mean(one, (0, 1, 2)) / 255) ** 2)
    assert measures.fid(one, shift, MEANS) == pytest.approx(wanted, rel=0.05)


def test_like_crops_are_alike(vgg16: Path, vgg19: Path) -> None:
    perceptual, style = Perceptual.read(vgg16, torch.device("cpu")), Style.read(vgg19)
    picture = noise(1, width=96)[0]
    same, other = [picture[:, :32]] * 3, measures.crops(picture, 32)
    assert len(other) == 3 and measures.random_crop(picture, 32, DRAW).shape == (32, 32, 3)
    assert measures.i_lpips(same, perceptual) == pytest.approx(0.0, abs=1e-6)
    assert measures.i_style(same, style) == pytest.approx(0.0, abs=1e-6)
    assert measures.i_lpips(other, perceptual) > 0 and measures.i_style(other, style) > 0
    bright = [*other[:2], np.full_like(other[0], 255)]
    assert measures.i_style(bright, style) > measures.i_style(other, style)
    assert np.isnan(measures.i_lpips(same[:1], perceptual))


def test_a_style_does_not_depend_on_where_things_are(vgg19: Path) -> None:
    style, picture = Style.read(vgg19), torch.rand(1, 3, 32, 32)
    turned = style.grams(torch.flip(picture, (2, 3)))
    assert [gram.shape for gram in turned] == [(1, 4, 4)] * 5
    first = (style.grams(picture)[0] - turned[0]).abs().max()
    assert float(first) < 0.3 * float(turned[0].abs().max())


def test_networks_that_cannot_be_used_are_said(tmp_path: Path, vgg16: Path) -> None:
    with pytest.raises(UsageError, match="no AutoModel can be loaded"):
        networks.open_embedding(str(tmp_path))
    with pytest.raises(UsageError, match="no embedding network"):
        networks.open_embedding("nowhere.onnx")
    with pytest.raises(UsageError, match="no CLIPModel can be loaded"):
        networks.open_clip(str(tmp_path))
    with pytest.raises(ModelError, match="VGG19"):
        Style.read(tmp_path / "none.safetensors")


def test_an_onnx_file_embeds(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])
    told = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph([node], "means", [given], [told], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "means.onnx")
    embedding: Any = networks.open_embedding(str(tmp_path / "means.onnx"))
    grey = torch.full((2, 3, 40, 40), 51, dtype=torch.uint8)
    assert embedding.num_features == 3 and embedding(grey) == pytest.approx(np.full((2, 3), 0.2), abs=1e-5)


def test_the_command_fills_every_column(
    tmp_path: Path, features: Path, clip: Path, vgg16: Path, vgg19: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures.stable_diffusion3(tmp_path / "flow")
    words = [
        "eval",
        "panorama",
        "--model",
        str(tmp_path / "flow"),
        "--backend",
        "torch",
        "--prompts",
        "lake;hills, fog",
    ]
    words += ["--seeds", "2", "--steps", "1", "--width", "64", "--methods", "safa,average", "--average-overlap", "0.75"]
    words += ["--features", str(features), "--clip", str(clip), "--perceptual", str(vgg16), "--style", str(vgg19)]
    assert main([*words, "--json", "--quiet", "--out", str(tmp_path / "page")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in told["rows"]] == ["reference", "safa", "average"] and not told["empty_columns"]
    for row in told["rows"]:
        assert row["pictures"] == 4 and row["fid"] >= 0 and row["clip"] is not None and "clip" in row["embedding"]
    _, safa, average = told["rows"]
    # Three views and the reference in the one guided step; five views at three quarters' overlap.
    assert safa["denoiser_calls"] == 4 and average["denoiser_calls"] == 5
    assert safa["i_lpips"] > 0 and safa["i_stylel"] > 0 and safa["run_time_ratio"] == 1.0
    assert "FID and KID take one random crop" in (tmp_path / "page" / "panorama.md").read_text()


def test_columns_without_networks_say_how_to_fill_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures.stable_diffusion(tmp_path / "noise")
    words = ["eval", "panorama", "--model", str(tmp_path / "noise"), "--backend", "torch", "--prompts", "lake"]
    assert main([*words, "--seeds", "1", "--steps", "1", "--width", "48", "--methods", "safa", "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "--features" in told and "--clip" in told and "--style" in told and "--perceptual" in told
    assert main([*words, "--methods", "safa,magic"]) == 2 and "magic" in capsys.readouterr().err


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_are_what_their_classes_say(name: str) -> None:
    """At their full size, without memory for their weights."""
    model = random_model(name, "torch")
    assert model.facts.scale == 8 and model.facts.view_frames in (64, 128) and "random weights" in model.facts.name


@pytest.mark.parametrize("name", ["stable-diffusion-2", "stable-diffusion-3.5-medium"])
def test_run_times_of_all_methods_with_random_weights(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "bench",
        "panorama",
        "--architecture",
        name,
        "--tiny",
        "--backend",
        "torch",
        "--width",
        "64",
        "--steps",
        "1",
    ]
    methods = "safa,average,mad,syncdiffusion" if name == "stable-diffusion-2" else "safa,average"
    assert main([*words, "--width", "64", "--runs", "1", "--methods", methods, "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["method"] for row in rows] == methods.split(",")
    assert rows[0]["run_time_ratio"] == 1.0 and all(row["run_time_s"] > 0 for row in rows)


def test_a_bench_needs_a_model_of_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "panorama"]) == 2 and "--architecture" in capsys.readouterr().err
    assert main(["bench", "panorama", "--architecture", "x"]) == 2 and "stable-diffusion-2" in capsys.readouterr().err
