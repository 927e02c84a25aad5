"""Other sample rates and channel counts than the model's, as a stream or as a loop."""

from __future__ import annotations

import numpy as np
import soxr

from safa_stream.channels import LARGEST_CHANNELS
from safa_stream.errors import UsageError
from safa_stream.types import FloatArray

LOWEST_RATE, HIGHEST_RATE = 8000, 192_000


def check(rate: int | None, channels: int | None) -> None:
    """Raise UsageError for a rate or channel count that no file is written with; None stands for the model's own."""
    if rate is not None and not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UsageError(f"the sample rate must be from {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {rate}")
    if channels is not None and not 1 <= channels <= LARGEST_CHANNELS:
        raise UsageError(f"a sound can have 1 to {LARGEST_CHANNELS} channels, not {channels}")


def silence(channels: int, length: int = 0) -> FloatArray:
    """[channels, length] of nothing."""
    return np.zeros((channels, length), np.float32)


def with_channels(samples: FloatArray, channels: int) -> FloatArray:
    """[c, N] as [channels, N]: of many the first ones, which are a whole sound; the mean of a pair; one copied."""
    if len(samples) > 2:
        samples = samples[: max(2, channels)]
    if len(samples) == channels:
        return samples
    mono = samples.mean(axis=0, keepdims=True, dtype=np.float32)
    return np.repeat(mono, channels, axis=0)


class Resampler:
    """Resample a stream [channels, N] piece by piece. It remembers what it was given: one object a stream."""

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        self._stream = None
        if rate_in != rate_out:
            self._stream = soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32")

    def push(self, samples: FloatArray, last: bool = False) -> FloatArray:
        """The next piece at the new rate; with `last` all that is left."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(np.ascontiguousarray(samples.T), last=last).T)


def resample_loop(samples: FloatArray, rate_in: int, rate_out: int) -> FloatArray:
    """A loop [channels, N] at another rate, its seam as smooth as before."""
    if rate_in == rate_out:
        return samples
    length = samples.shape[1]
    # A second of what comes before and after the seam is far longer than the resampler's filter.
    around = samples[:, np.arange(-rate_in, length + rate_in) % length]
    converted = Resampler(rate_in, rate_out, len(samples)).push(around, last=True)
    return converted[:, rate_out : rate_out + round(length * rate_out / rate_in)]
