"""What a model gives as a session has it: two channels whatever the model, or as many as the scene says.

A mono model's sound is heard in the middle. In a session of more channels every pair (or, of a mono model, every
channel) is a group of its own (`models.grouped`); the first pair is what a session of two channels has, bit for bit.
So whatever decides something by how a layer sounds listens to the first pair.
"""

from __future__ import annotations

import numpy as np

from safa_stream.models.grouped import grouped
from safa_stream.models.interface import Model
from safa_stream.types import FloatArray

CHANNELS = 2


def voiced(model: Model, channels: int) -> Model:
    """The model that makes a session's sound of so many channels."""
    return grouped(model, channels) if channels > CHANNELS else model


def channels_of(model: Model) -> int:
    """Channels of a session of such a model."""
    return max(CHANNELS, model.facts.channels)


def stereo(pcm: FloatArray) -> FloatArray:
    """A model's sound [channels, N] as a session's: one channel is doubled."""
    return pcm if pcm.shape[0] > 1 else np.repeat(pcm[:1], CHANNELS, axis=0)


def first_pair(sound: FloatArray) -> FloatArray:
    """[2, N]: what a session of two channels would have."""
    return sound[:CHANNELS]
