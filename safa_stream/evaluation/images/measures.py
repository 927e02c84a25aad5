"""The columns of the panorama experiment: FID, KID and the CLIP score by torchmetrics; I-LPIPS and I-StyleL by crop.

As in SyncDiffusion's evaluation (arXiv 2306.05178): FID and KID take one random crop of a panorama, as wide as it is
high, against native pictures; I-LPIPS is the mean over all pairs of a panorama's crops side by side, I-StyleL the sum.
"""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safa_stream.errors import UsageError
from safa_stream.evaluation.images.networks import INCEPTION, Embedding, Style
from safa_stream.models.images.interface import Pixels
from safa_stream.models.perceptual import Perceptual

#: KID is told times a thousand, as the paper does; in subsets of so many pictures at most, so many times.
KID_SCALE, SUBSET, SUBSETS = 1000.0, 50, 50
#: The style loss' weight in its authors' terms; only its ratios mean anything.
STYLE_SCALE = 1e6


def crops(pixels: Pixels, width: int) -> list[Pixels]:
    """All crops [H, width, 3] side by side from the left; what remains is left out."""
    return [pixels[:, at : at + width] for at in range(0, pixels.shape[1] - width + 1, width)]


def random_crop(pixels: Pixels, width: int, draw: np.random.Generator) -> Pixels:
    """One crop [H, width, 3]."""
    at = int(draw.integers(pixels.shape[1] - width + 1))
    return pixels[:, at : at + width]


def batch(pictures: Sequence[Pixels]) -> Tensor:
    """[N, 3, H, W] of bytes."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def fid(real: Sequence[Pixels], made: Sequence[Pixels], embedding: Embedding | str) -> float:
    """Fréchet distance; NaN of fewer than two pictures on either side."""
    if min(len(real), len(made)) < 2:
        return float("nan")
    return float(_compared("fid", "FrechetInceptionDistance", real, made, embedding))


def kid(real: Sequence[Pixels], made: Sequence[Pixels], embedding: Embedding | str) -> float:
    """Kernel distance times KID_SCALE: the mean over subsets. NaN of fewer than three pictures on either side."""
    count = min(len(real), len(made))
    if count < 3:
        return float("nan")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = min(SUBSET, count - 1)
        mean, _ = _compared("kid", "KernelInceptionDistance", real, made, embedding, subsets=SUBSETS, subset_size=size)
    return KID_SCALE * float(mean)


def clip_score(made: Sequence[Pixels], prompts: Sequence[str], model: Any, processor: Any) -> float:
    """Mean of 100 x the cosine of picture and words, not below 0; one prompt a picture."""
    metric = _metric("torchmetrics.multimodal.clip_score", "CLIPScore")(lambda: (model, processor))
    with torch.no_grad():
        metric.update(list(batch(made)), list(prompts))
    return float(metric.compute())


def i_lpips(pictures: Sequence[Pixels], perceptual: Perceptual) -> float:
    """Mean LPIPS of all pairs of a panorama's crops."""
    given = batch(pictures).float() / 127.5 - 1.0
    pairs = list(itertools.combinations(range(len(given)), 2))
    if not pairs:
        return float("nan")
    with torch.no_grad():
        apart = [float(perceptual.distance(given[a : a + 1], given[b : b + 1])) for a, b in pairs]
    return float(np.mean(apart))


def i_style(pictures: Sequence[Pixels], style: Style) -> float:
    """Sum over pairs of a panorama's crops, and over layers, of the mean squared difference of Gram matrices."""
    with torch.no_grad():
        grams = [style.grams(batch([one]).float() / 255) for one in pictures]
        pairs = list(itertools.combinations(grams, 2))
        if not pairs:
            return float("nan")
        total = sum(float(((a - b) ** 2).mean()) for one, two in pairs for a, b in zip(one, two, strict=True))
    return STYLE_SCALE * total


def _compared(
    module: str, name: str, real: Sequence[Pixels], made: Sequence[Pixels], embedding: Embedding | str, **more: Any
) -> Any:
    kind = _metric(f"torchmetrics.image.{module}", name)
    try:
        with warnings.catch_warnings():
            # KID warns that it keeps all rows, which are few here.
            warnings.simplefilter("ignore", UserWarning)
            metric = kind(feature=2048 if embedding == INCEPTION else embedding, **more)
    except (ImportError, ModuleNotFoundError) as error:
        raise UsageError(f"--features {INCEPTION} needs more: pip install torch-fidelity ({error})") from error
    except OSError as error:
        raise UsageError(f"--features {INCEPTION} could not be downloaded: {error}") from error
    with torch.no_grad():
        for one in real:
            metric.update(batch([one]), real=True)
        for one in made:
            metric.update(batch([one]), real=False)
    return metric.compute()


def _metric(module: str, name: str) -> Any:
    """A class of torchmetrics. Raises UsageError where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UsageError(f"FID, KID and CLIP need torchmetrics ({error}): pip install 'safa-stream[eval]'") from error
