"""The networks behind the columns of the panorama experiment, from local files, or from the hub where there is a net.

FID and KID: any network of transformers that embeds pictures, or an .onnx file; the name "inception" is torchmetrics'
own Inception, which needs torch-fidelity and a download. CLIP: a CLIP model in the layout of transformers. I-LPIPS and
I-StyleL: VGG16 and VGG19 as safetensors under torchvision's names, as timm/vgg16.tv_in1k and timm/vgg19.tv_in1k on the
hub have them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, relu

from safa_stream.errors import ModelError, UsageError
from safa_stream.evaluation.paper.files import open_onnx
from safa_stream.models.perceptual import Perceptual
from safa_stream.models.pretrained.checkpoint import library_class
from safa_stream.models.pretrained.quiet import quiet

INCEPTION = "inception"
#: The side that an .onnx network of free size gets, Inception's.
SIDE = 299
#: VGG19's first five convolutions by their number in torchvision's list, and those after which it halves.
CONVOLUTIONS, HALVED = (0, 2, 5, 7, 10), (2, 7)
KINDS = ("weight", "bias")
#: ImageNet's mean and spread of colours in 0 .. 1, which VGG19 was trained on.
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Embedding(nn.Module):
    """Pictures [N, 3, H, W] of 0 .. 255, bytes, to rows [N, D]; torchmetrics takes it as FID's and KID's network."""

    def __init__(self, name: str, embed: Callable[[Tensor], Tensor], side: int) -> None:
        super().__init__()
        self.name, self.embed = name, embed
        self.num_features = int(embed(torch.zeros((1, 3, side, side), dtype=torch.uint8)).shape[1])

    def forward(self, pictures: Tensor) -> Tensor:
        return self.embed(pictures)


def open_embedding(name: str) -> Embedding | str:
    """The network of FID and KID: an .onnx file, a folder or an id of transformers, or the name INCEPTION itself.

    Raises UsageError where it cannot be had.
    """
    if name == INCEPTION:
        return INCEPTION
    if name.endswith(".onnx"):
        return _from_onnx(Path(name))
    model, processor = _transformers(name, "AutoModel", "AutoImageProcessor")

    def embed(pictures: Tensor) -> Tensor:
        given = processor(images=list(pictures.permute(0, 2, 3, 1).numpy()), return_tensors="pt")
        with torch.no_grad():
            out = model(pixel_values=given["pixel_values"])
        pooled = getattr(out, "pooler_output", None)
        rows: Tensor = out.last_hidden_state.mean(1) if pooled is None else pooled
        return rows.flatten(1).float()

    return Embedding(_short(name), embed, 64)


def _from_onnx(path: Path) -> Embedding:
    if not path.is_file():
        raise UsageError(f"no embedding network at {path}")
    run, shape = open_onnx(path)
    if len(shape) != 4 or shape[1] != 3:
        raise UsageError(f"{path.name} takes {list(shape)}; a network of pictures takes [N, 3, height, width], 0 to 1")
    size = (shape[2] or SIDE, shape[3] or SIDE)

    def embed(pictures: Tensor) -> Tensor:
        unit = interpolate(pictures.float() / 255, size, mode="bilinear", antialias=True, align_corners=False)
        rows = [torch.from_numpy(run(one[None].numpy())).flatten(1) for one in unit]
        return torch.cat(rows)

    return Embedding(path.name, embed, SIDE)


class Directions(nn.Module):
    """A CLIPModel whose features are tensors, as torchmetrics takes them, and not outputs of several."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def get_image_features(self, pixels: Tensor) -> Tensor:
        """[N, D]."""
        found: Tensor = self.model.get_image_features(pixel_values=pixels).pooler_output
        return found

    def get_text_features(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[N, D]."""
        found: Tensor = self.model.get_text_features(input_ids=tokens, attention_mask=mask).pooler_output
        return found


def open_clip(name: str) -> tuple[Directions, Any]:
    """A CLIPModel and its CLIPProcessor, of a folder or an id. Raises UsageError where they cannot be had."""
    model, processor = _transformers(name, "CLIPModel", "CLIPProcessor")
    return Directions(model), processor


def _transformers(name: str, model: str, processor: str) -> tuple[Any, Any]:
    try:
        with quiet():
            found = library_class("transformers", model).from_pretrained(name, use_safetensors=True).eval()
            return found, library_class("transformers", processor).from_pretrained(name)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"no {model} can be loaded from {name!r}: {said}") from error


def _short(name: str) -> str:
    return name.rstrip("/").split("/")[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """Gram matrices of VGG19's first five convolutions (arXiv 1508.06576), by the weights of a local file."""

    weights: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> Style:
        """Raises ModelError where the file is missing, damaged, or of another network."""
        try:
            weights = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} is no safetensors file with the weights of a VGG19: {error}") from error
        missing = [n for n in (f"features.{layer}.{k}" for layer in CONVOLUTIONS for k in KINDS) if n not in weights]
        if missing:
            raise ModelError(f"{path} has not the weights of a VGG19 under torchvision's names: no {missing[0]}")
        return cls({name: value.float() for name, value in weights.items()})

    def grams(self, pictures: Tensor) -> list[Tensor]:
        """[B, C, C] of every layer, for pictures [B, 3, H, W] of 0 .. 1; each over its number of values."""
        mean, spread = (torch.tensor(values)[:, None, None] for values in (MEAN, SPREAD))
        x, out = (pictures - mean) / spread, []
        for layer in CONVOLUTIONS:
            name = f"features.{layer}"
            x = conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], padding=1)
            flat = x.flatten(2)
            out.append(flat @ flat.mT / (flat.shape[1] * flat.shape[2]))
            x = relu(x)
            x = avg_pool2d(x, 2) if layer in HALVED else x
        return out


@dataclass(frozen=True, slots=True)
class Eyes:
    """The networks of a run; `missing` says for every column without one why it is empty and what fills it."""

    embedding: Embedding | str | None = None
    clip: tuple[str, Directions, Any] | None = None
    perceptual: tuple[str, Perceptual] | None = None
    style: tuple[str, Style] | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Which network made which column."""
        named: dict[str, str] = {}
        if self.embedding is not None:
            name = self.embedding if isinstance(self.embedding, str) else self.embedding.name
            named |= {"fid": name, "kid": name}
        if self.clip is not None:
            named["clip"] = self.clip[0]
        if self.style is not None:
            named["i_stylel"] = self.style[0]
        if self.perceptual is not None:
            named["i_lpips"] = self.perceptual[0]
        return named

    @property
    def missing(self) -> Mapping[str, str]:
        """Why columns are empty."""
        reasons = {
            "fid": "no network: give --features FOLDER_OR_ID, FILE.onnx or inception",
            "kid": "no network: give --features FOLDER_OR_ID, FILE.onnx or inception",
            "clip": "no CLIP model: give --clip FOLDER_OR_ID",
            "i_stylel": "no VGG19: give --style FILE (model.safetensors of timm/vgg19.tv_in1k)",
            "i_lpips": "no VGG16: give --perceptual FILE (model.safetensors of timm/vgg16.tv_in1k)",
        }
        return {name: reason for name, reason in reasons.items() if name not in self.columns}

    @property
    def label(self) -> str:
        """All in one line, as every row tells it."""
        return "; ".join(f"{column}: {name}" for column, name in self.columns.items())


def open_eyes(features: str | None, clip: str | None, perceptual: Path | None, style: Path | None) -> Eyes:
    """The networks that were given. Raises UsageError or ModelError for one that cannot be used."""
    return Eyes(
        open_embedding(features) if features else None,
        (_short(clip), *open_clip(clip)) if clip else None,
        (perceptual.name, Perceptual.read(perceptual, torch.device("cpu"))) if perceptual else None,
        (style.name, Style.read(style)) if style else None,
    )
