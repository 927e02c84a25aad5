"""One guided estimate of a model, whatever its backend: what both backends of one weights file must agree on."""

from __future__ import annotations

import numpy as np

from safa_stream.models.interface import Model
from safa_stream.scene import parse_prompts


def estimate(model: Model, seed: int, frames: int, guidance: float, level: float) -> np.ndarray:
    draw = np.random.default_rng(seed)
    facts = model.facts
    latents = draw.normal(size=(2, facts.latent_channels, frames, facts.latent_bins)).astype(np.float32)
    encoded = model.encode(parse_prompts("rain, birds:0.5"), (), seed)
    told = type(encoded.conditioning)(
        {n: model.from_numpy(np.repeat(model.to_numpy(t), 2, 0)) for n, t in encoded.conditioning.tensors.items()}
    )
    other = type(encoded.negative)(
        {n: model.from_numpy(np.repeat(model.to_numpy(t), 2, 0)) for n, t in encoded.negative.tensors.items()}
    )
    levels = model.from_numpy(np.array([level, level / 2]))
    scale = model.from_numpy(np.array([guidance, 1.0]))
    return np.asarray(model.to_numpy(model.denoise(model.from_numpy(latents), levels, told, other, scale)))
