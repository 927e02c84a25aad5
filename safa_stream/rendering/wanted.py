"""What a panorama is to be: words, sizes in pixels, and how its views are joined; and what of it cannot be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from safa_stream.errors import UsageError
from safa_stream.scene import (
    ATTEND_RATIO,
    JOINT_METHODS,
    LARGEST_SEED,
    SYNC,
    SYNC_STEPS,
    SYNC_WEIGHT,
    WeightedPrompt,
)

#: Pixels from left to right; more is a slip of the hand.
WIDEST = 1 << 18


@dataclass(frozen=True, slots=True)
class Panorama:
    """What to make. Lengths are in pixels; None stands for the model's own.

    overlap: share of a view; stride: from one view to the next, instead of it. swap_interval: in latent columns.
    batch: views that the denoiser gets at once; with "mad" it gets all. attend_ratio: with "mad", the share of the
    steps in which views attend to each other. With "syncdiffusion": perceptual, the file of its network's weights;
    sync_weight and sync_steps, how far views follow the middle one at first, and in how many steps.
    """

    prompts: tuple[WeightedPrompt, ...]
    negative: tuple[WeightedPrompt, ...] = ()
    width: int = 2048
    height: int | None = None
    view: int | None = None
    overlap: float | None = None
    stride: int | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    method: str = "safa"
    swap_interval: int = 1
    reference_ratio: float = 0.3
    circular: bool = False
    batch: int = 4
    attend_ratio: float = ATTEND_RATIO
    perceptual: Path | None = None
    sync_weight: float = SYNC_WEIGHT
    sync_steps: int = SYNC_STEPS

    def __post_init__(self) -> None:
        if not self.prompts:
            raise UsageError('say what is to be seen, such as "hills by a lake, at dusk"')
        if self.overlap is not None and self.stride is not None:
            raise UsageError("the overlap and the stride say the same; give one of them")
        for name in ("width", "height", "view", "stride"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= WIDEST:
                raise UsageError(f"the {name} must be from 1 to {WIDEST} pixels, not {value}")
        if self.guidance is not None and not 0 <= self.guidance < math.inf:
            raise UsageError(f"the guidance must be a number from 0 on, not {self.guidance}")
        if self.method not in JOINT_METHODS:
            raise UsageError(f"no method is called {self.method!r}; there are {', '.join(JOINT_METHODS)}")
        if self.method == SYNC and self.perceptual is None:
            raise UsageError(
                "method syncdiffusion compares views by a VGG16: give its weights with --perceptual FILE, such as "
                "model.safetensors of timm/vgg16.tv_in1k"
            )
        if not (0 <= self.sync_weight < math.inf and self.sync_steps >= 0):
            raise UsageError("the weight of the synchronisation and its steps are numbers from 0 on")
        if not 0 <= self.attend_ratio <= 1:
            raise UsageError(f"the attend ratio must be a share from 0 to 1, not {self.attend_ratio}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"the seed must be from 0 to {LARGEST_SEED}, not {self.seed}")
