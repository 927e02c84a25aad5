"""Models of pictures of known architectures with random weights, in memory: for what they cost, not for what they show.

Their denoisers and autoencoders are whole; text encoders are left out, as a text is encoded once and the rest is what
takes time. What a text becomes is random numbers of the right shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safa_stream.errors import UsageError
from safa_stream.models.images.base import PretrainedImages
from safa_stream.models.images.stable_diffusion import StableDiffusion
from safa_stream.models.images.stable_diffusion3 import StableDiffusion3
from safa_stream.models.images.texts import TextEncoder
from safa_stream.models.likeness import Likeness
from safa_stream.models.perceptual import BLOCKS, Perceptual
from safa_stream.models.pretrained.base import Row
from safa_stream.models.pretrained.checkpoint import Checkpoint, Component, Kind, build
from safa_stream.models.pretrained.computing import Computing, open_computing
from safa_stream.models.pretrained.weights import WeightFiles

Config = dict[str, Any]
#: Tokens of a CLIP and of the T5 beside it.
CLIP_TOKENS, T5_TOKENS = 77, 256
#: Channels of VGG16's blocks.
VGG = (64, 128, 256, 512, 512)

KL: Config = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
KL_16: Config = KL | {
    "latent_channels": 16,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
#: stabilityai/stable-diffusion-2-base.
UNET: Config = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
#: stabilityai/stable-diffusion-3.5-medium and -large.
MEDIUM: Config = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 384,
    "dual_attention_layers": list(range(13)),
    "qk_norm": "rms_norm",
}
LARGE: Config = MEDIUM | {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
    "dual_attention_layers": [],
}
DDIM: Config = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "prediction_type": "epsilon",
}
FLOW: Config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}

SMALL_KL: Config = {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 32}
SMALL_KL |= {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
SMALL_UNET: Config = {
    "sample_size": 16,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
}
SMALL_DIT: Config = {
    "sample_size": 16,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "caption_projection_dim": 16,
    "pos_embed_max_size": 16,
    "dual_attention_layers": [0],
}


@dataclass(frozen=True, slots=True)
class RandomComponent(Component):
    """A module whose weights are drawn when it is loaded."""

    def load(self) -> Any:
        """In eval mode and single precision."""
        with torch.device("meta"):
            module = build(self.kind, self.stored)
        module = module.to_empty(device="cpu")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            for value in (*module.parameters(), *module.buffers()):
                if value.is_floating_point():
                    value.normal_(std=0.02)
                else:
                    value.zero_()
        return module.float().eval().requires_grad_(False)


class RandomStableDiffusion(StableDiffusion):
    """Stable Diffusion 2 without its text encoder."""

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        PretrainedImages.__init__(self, checkpoint, computing)
        self.text = TextEncoder(Path(), "CLIPTextModel", None, CLIP_TOKENS)

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """Random states [1, 77, D]."""
        width = int(self.denoiser_config["cross_attention_dim"])
        return [{"text": self.computing.tensor(torch.randn(1, CLIP_TOKENS, width).numpy())} for _ in texts]

    def not_understood(self, text: str) -> tuple[str, ...]:
        """None: nothing is read."""
        return ()

    def likeness(self, network: Path | None) -> Likeness:
        """SyncDiffusion's network with random weights, whatever the file."""
        return random_likeness(self)


class RandomStableDiffusion3(StableDiffusion3):
    """Stable Diffusion 3.5 without its text encoders."""

    def __init__(self, checkpoint: Checkpoint, computing: Computing) -> None:
        PretrainedImages.__init__(self, checkpoint, computing)

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """Random states [1, 77 + 256, D] and embeddings [1, P]."""
        config = self.denoiser_config
        sizes = {
            "text": (1, CLIP_TOKENS + T5_TOKENS, int(config["joint_attention_dim"])),
            "pooled": (1, int(config["pooled_projection_dim"])),
        }
        drawn = self.computing.tensor
        return [{name: drawn(torch.randn(*size).numpy()) for name, size in sizes.items()} for _ in texts]

    def not_understood(self, text: str) -> tuple[str, ...]:
        """None: nothing is read."""
        return ()

    def likeness(self, network: Path | None) -> Likeness:
        """SyncDiffusion's network with random weights, whatever the file."""
        return random_likeness(self)


@dataclass(frozen=True, slots=True)
class PictureArchitecture:
    """The class that runs it, its components' configurations, what makes them tiny, and its scheduler's."""

    model: type[RandomStableDiffusion] | type[RandomStableDiffusion3]
    configs: Mapping[str, Config]
    small: Mapping[str, Config]
    scheduler: Config


ARCHITECTURES: Mapping[str, PictureArchitecture] = {
    "stable-diffusion-2": PictureArchitecture(
        RandomStableDiffusion, {"unet": UNET, "vae": KL}, {"unet": SMALL_UNET, "vae": SMALL_KL}, DDIM
    ),
    "stable-diffusion-3.5-medium": PictureArchitecture(
        RandomStableDiffusion3, {"transformer": MEDIUM, "vae": KL_16}, {"transformer": SMALL_DIT, "vae": SMALL_KL}, FLOW
    ),
    "stable-diffusion-3.5-large": PictureArchitecture(
        RandomStableDiffusion3, {"transformer": LARGE, "vae": KL_16}, {"transformer": SMALL_DIT, "vae": SMALL_KL}, FLOW
    ),
}


def random_model(name: str, backend: str, tiny: bool = False) -> PretrainedImages:
    """The architecture of that name on a backend of torch; tiny: a few small layers of the same classes.

    Raises UsageError for a name that is not known.
    """
    found = ARCHITECTURES.get(name)
    if found is None:
        raise UsageError(f"no architecture is called {name!r}; there are {', '.join(ARCHITECTURES)}")
    components = {}
    for kind in found.model.KINDS:
        stored = {**found.configs[kind.name], **(found.small[kind.name] if tiny else {})}
        with torch.device("meta"):
            config = dict(build(kind, stored).config)
        components[kind.name] = _component(kind, stored, config)
    folder = Path(f"{name}{' (tiny)' if tiny else ''}, random weights")
    return found.model(Checkpoint(folder, name, components, found.scheduler), open_computing(backend))


def random_likeness(model: PretrainedImages) -> Likeness:
    """LPIPS by random weights."""
    judge = random_vgg(model.computing)
    return Likeness("LPIPS by random weights", lambda latents: model.pictures.view(latents), judge.distance)


def random_vgg(computing: Computing) -> Perceptual:
    """VGG16 at its full size."""
    weights: dict[str, Tensor] = {}
    before = 3
    for width, block in zip(VGG, BLOCKS, strict=True):
        for layer in block:
            spread = (2.0 / (9 * before)) ** 0.5
            weights[f"features.{layer}.weight"] = (torch.randn(width, before, 3, 3) * spread).to(computing.device)
            weights[f"features.{layer}.bias"] = torch.zeros(width, device=computing.device)
            before = width
    return Perceptual(weights)


def _component(kind: Kind, stored: Config, config: Config) -> RandomComponent:
    return RandomComponent(kind, Path(kind.name), stored, config, WeightFiles(()))
