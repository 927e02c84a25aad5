"""Style: what kind of recording a passage is, as 32 numbers. The network is told it; a scene keeps it against drift."""

from __future__ import annotations

import numpy as np

from safa_stream.models.builtin.features import Array

#: So many leading latents are described, each by its mean and by the logarithm of its standard deviation over time.
DESCRIBED = 16
STYLE_SIZE = 2 * DESCRIBED


def describe(latents: Array) -> Array:
    """Style [32] of a passage of latents [T, K]: means, then log standard deviations, both of about unit size."""
    leading = latents[:, :DESCRIBED]
    spread = np.log(leading.std(0) + 0.1)
    return np.concatenate([leading.mean(0), spread]).astype(np.float32)
