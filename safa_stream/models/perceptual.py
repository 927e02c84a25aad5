"""LPIPS (arXiv 1801.03924) by a VGG16 whose weights are a local safetensors file: how unlike two pictures look.

The file has torchvision's names, features.0.weight to features.28.bias, as the model timm/vgg16.tv_in1k on the hub has
them. Where it also has LPIPS's own weights under their names, lin0.model.1.weight to lin4.model.1.weight, features are
weighted by them; without them all count alike, which the paper calls the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from safa_stream.errors import ModelError

#: VGG16's convolutions by their number in torchvision's list, block by block; every block but the first halves first.
BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
#: LPIPS's mean and spread of colours in -1 .. 1.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
#: The fewest pixels in either direction: four halvings.
SMALLEST = 16


@dataclass(frozen=True, slots=True, eq=False)
class Perceptual:
    """The network's weights by name, on a device."""

    weights: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path, device: torch.device) -> Perceptual:
        """Raises ModelError where the file is missing, damaged, or of another network."""
        try:
            weights = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} is no safetensors file with the weights of a VGG16: {error}") from error
        names = [f"features.{layer}.{kind}" for block in BLOCKS for layer in block for kind in ("weight", "bias")]
        missing = [name for name in names if name not in weights]
        if missing:
            raise ModelError(f"{path} has not the weights of a VGG16 under torchvision's names: no {missing[0]}")
        return cls({name: value.to(device, torch.float32) for name, value in weights.items()})

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """[B] for pictures [B, 3, H, W] of -1 .. 1."""
        total = torch.zeros(first.shape[0], device=first.device)
        for block, (a, b) in enumerate(zip(self._features(first), self._features(second), strict=True)):
            apart = (_normed(a) - _normed(b)) ** 2
            share = self.weights.get(f"lin{block}.model.1.weight")
            total = total + (apart if share is None else apart * share).sum(dim=1).mean(dim=(1, 2))
        return total

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """What every block ends with."""
        shift, scale = (torch.tensor(values, device=pictures.device)[:, None, None] for values in (SHIFT, SCALE))
        x, out = (pictures - shift) / scale, []
        for index, block in enumerate(BLOCKS):
            x = max_pool2d(x, 2) if index else x
            for layer in block:
                name = f"features.{layer}"
                x = relu(conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], padding=1))
            out.append(x)
        return out


def _normed(features: Tensor) -> Tensor:
    """Of length one over the channels; never divided by zero, which a gradient would not survive."""
    return features / (features.square().sum(dim=1, keepdim=True) + 1e-20).sqrt()
