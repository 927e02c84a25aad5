"""Sessions are of two channels whatever the model: a mono model's sound is heard in the middle."""

from __future__ import annotations

import numpy as np

from safa_stream.types import FloatArray

CHANNELS = 2


def stereo(pcm: FloatArray) -> FloatArray:
    """A model's sound [1 or 2, N] as [2, N]."""
    return pcm if pcm.shape[0] == CHANNELS else np.repeat(pcm[:1], CHANNELS, axis=0)
