"""Train a small AutoencoderKL on a folder of pictures, for `safa-stream eval connectivity --autoencoder`.

    python tools/autoencoder_study.py pictures --out small-vae --minutes 5

The class is that of Stable Diffusion's autoencoder, with two halvings and four latent channels. Needs the extras train
and torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from safa_stream.models.pretrained.checkpoint import Kind, build
from safa_stream.models.pretrained.quiet import quiet
from safa_stream.training.waveform.loop import Optimiser, Progress, rates

CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [16, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": 4,
    "mid_block_add_attention": False,
}
#: Pixels of a side of a crop, crops a step, weight of the divergence (nats a latent value), learning rate.
SIDE, BATCH, DIVERGENCE, RATE = 64, 4, 1e-4, 2e-3


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--hold-out", type=int, default=4, help="every so many pictures one is not trained on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = sorted(p for p in options.pictures.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    kept = [path for index, path in enumerate(found) if index % options.hold_out != options.hold_out - 1]
    pictures = [np.asarray(Image.open(path).convert("RGB"), np.float32) / 127.5 - 1.0 for path in kept]
    vae = build(Kind("vae", "AutoencoderKL"), CONFIG)
    train(vae, pictures, options.minutes)
    with quiet():
        vae.save_pretrained(options.out)


def train(vae: Any, pictures: list[Any], minutes: float) -> None:
    """Squared error and divergence on random crops."""
    draw = np.random.default_rng(0)
    optimiser, progress = Optimiser(vae.train(), (), RATE), Progress("autoencoder", print)
    for factor in rates(minutes, 0.25):
        real = torch.from_numpy(np.stack([crop(pictures, draw) for _ in range(BATCH)])).permute(0, 3, 1, 2)
        latent = vae.encode(real).latent_dist
        loss = F.mse_loss(vae.decode(latent.sample()).sample, real) + DIVERGENCE * latent.kl().mean() / (SIDE / 4) ** 2
        progress.add(optimiser.descend(loss, factor))
    progress.tell()
    optimiser.settle()


def crop(pictures: list[Any], draw: np.random.Generator) -> Any:
    """A random square of a random picture."""
    picture = pictures[int(draw.integers(len(pictures)))]
    top, left = (int(draw.integers(side - SIDE + 1)) for side in picture.shape[:2])
    return picture[top : top + SIDE, left : left + SIDE]


if __name__ == "__main__":
    main()
