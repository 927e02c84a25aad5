"""A look-ahead true-peak limiter for sound on its way out: a short constant delay, and exactly that while all is well.

Sound is judged in segments of a tenth of the delay, four points a sample (BS.1770-4 annex 2, over all channels):

    wanted_j   a little less than ceiling / highest point of segment j where that is above the ceiling, else 1
    floor_j    the lower of wanted_j and floor_(j-1) let go towards 1
    least_j    the lowest of floor_j .. floor_(j+AHEAD)
    node_k     the mean of least_(k-AHEAD) .. least_(k-1): the gain where segment k begins, never above the wanted gain
               of the two segments that meet there; between two nodes the gain is a line

Segments begin at multiples of their length from the first sample on, so the result does not depend on the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from safa_stream.errors import SnapshotError, UsageError
from safa_stream.peaks import TAPS, interpolator
from safa_stream.trajectory import AnyNumpy, Tensors
from safa_stream.types import DoubleArray, FloatArray

CEILING = -1.0
DELAY = 240
RELEASE_SECONDS = 0.1
#: Segments in the delay, and how many of them the gain looks ahead: the others wait for a segment to be complete.
SEGMENTS = 10
AHEAD = 8
_HALF = TAPS // 2
#: What has to be lowered is lowered a little more: so many dB higher are the peaks that other meters find afterwards.
_MARGIN = 10 ** (-0.25 / 20)
#: Floors that are kept: enough for the nodes of every sample that is still inside.
_KEPT = SEGMENTS + AHEAD + 2
#: A gain this near to 1 is 1.
_NEAR = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Limiter:
    """Keeps true peaks at or below `ceiling` (linear), `delay` samples late.

    segment: samples; release: what a floor moves towards 1 in one segment, as a share; between [segment + TAPS - 1,
    points * segment]: the points between a segment's samples; rise: what they can be above the samples, at most.
    """

    ceiling: float
    delay: int
    segment: int
    release: float
    between: FloatArray
    rise: float


@dataclass(frozen=True, slots=True, eq=False)
class LimiterState:
    """The last `delay` samples [channels, delay], samples taken so far, and the last floors [_KEPT]."""

    samples: FloatArray
    position: int
    floors: DoubleArray

    def to_tensors(self, prefix: str) -> Tensors:
        """Named numpy arrays from which `from_tensors` makes an equal state."""
        return {
            f"{prefix}samples": self.samples,
            f"{prefix}position": np.array(self.position),
            f"{prefix}floors": self.floors,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyNumpy], prefix: str) -> LimiterState:
        """What `to_tensors` wrote. Raises SnapshotError where something is missing or cannot be."""
        names = ("samples", "position", "floors")
        try:
            samples, position, floors = (np.asarray(tensors[f"{prefix}{name}"]) for name in names)
            return cls(np.array(samples, np.float32), int(position), np.array(floors, np.float64).reshape(_KEPT))
        except KeyError as error:
            raise SnapshotError(f"a saved limiter lacks its tensor {error.args[0]}") from None
        except (TypeError, ValueError):
            raise SnapshotError("a saved limiter is damaged") from None


def limiter(rate: int, ceiling_db: float = CEILING, delay: int = DELAY) -> Limiter:
    """A limiter to `ceiling_db` dBTP. Raises UsageError where the delay is not a multiple of 10, 240 or more."""
    segment, kernel = delay // SEGMENTS, interpolator()
    if delay % SEGMENTS or segment < _HALF:
        raise UsageError(
            f"the limiter's delay must be a multiple of {SEGMENTS} samples, {SEGMENTS * _HALF} or more, not {delay!r}"
        )
    between = np.zeros((segment + TAPS - 1, len(kernel), segment), np.float32)
    for sample in range(segment):
        between[sample : sample + TAPS, :, sample] = kernel.T
    return Limiter(
        ceiling=10 ** (ceiling_db / 20),
        delay=delay,
        segment=segment,
        release=1 - math.exp(-segment / (RELEASE_SECONDS * rate)),
        between=between.reshape(segment + TAPS - 1, -1),
        rise=float(np.abs(kernel).sum(axis=1).max()) + 1e-3,
    )


def begin(limiter: Limiter, channels: int = 2) -> LimiterState:
    """The state before the first sample: silence came before it."""
    return LimiterState(np.zeros((channels, limiter.delay), np.float32), 0, np.ones(_KEPT))


def limit(limiter: Limiter, state: LimiterState, samples: FloatArray) -> tuple[LimiterState, FloatArray]:
    """The next samples [channels, N] in, as many out: those that came `delay` samples before, limited.

    A sample that is not a finite number counts as 0.
    """
    count, position, segment = samples.shape[1], state.position, limiter.segment
    samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    line = np.concatenate([state.samples, samples], axis=1)
    first, last = _complete(limiter, position), _complete(limiter, position + count)
    wanted = np.ones(last - first)
    if last > first and float(np.abs(line).max()) * limiter.rise > limiter.ceiling:
        starts = np.arange(first, last) * segment - (_HALF - 1) - (position - limiter.delay)
        wanted = _wanted(limiter, line, starts)
    floors = np.concatenate([state.floors, _let_go(limiter, float(state.floors[-1]), wanted)])
    after = LimiterState(line[:, count:], position + count, floors[-_KEPT:])
    out = line[:, :count]
    if count and float(floors.min()) < 1:
        begins = (position - limiter.delay) // segment
        ends = (position + count - 1 - limiter.delay) // segment + 1
        nodes = _nodes(floors, begins - (last - len(floors)), ends - begins + 1)
        gain = nodes[:-1, None] + (nodes[1:] - nodes[:-1])[:, None] * (np.arange(segment) / segment)
        offset = position - limiter.delay - begins * segment
        out = out * gain.ravel()[offset : offset + count].astype(np.float32)
    return after, out


def _complete(limiter: Limiter, position: int) -> int:
    """How many segments can be judged when so many samples have come: their last points need samples after them."""
    return max(0, (position - _HALF) // limiter.segment)


def _wanted(limiter: Limiter, line: FloatArray, starts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> DoubleArray:
    """Wanted gain of the segments whose first sample that matters is at `starts` of a line [channels, M]."""
    windows = np.ascontiguousarray(sliding_window_view(line, len(limiter.between), axis=1)[:, starts].swapaxes(0, 1))
    peaks = np.abs(windows[:, :, _HALF - 1 : _HALF - 1 + limiter.segment]).max(axis=(1, 2)).astype(np.float64)
    loud = np.flatnonzero(np.abs(windows).max(axis=(1, 2)) * limiter.rise > limiter.ceiling)
    peaks[loud] = np.maximum(peaks[loud], np.abs(windows[loud] @ limiter.between).max(axis=(1, 2)))
    return np.where(peaks > limiter.ceiling, _MARGIN * limiter.ceiling / np.maximum(peaks, limiter.ceiling), 1.0)


def _let_go(limiter: Limiter, floor: float, wanted: DoubleArray) -> DoubleArray:
    if floor == 1 and (len(wanted) == 0 or wanted.min() == 1):
        return wanted
    floors = []
    for gain in wanted.tolist():
        floor += limiter.release * (1 - floor)
        floor = min(gain, floor if floor < 1 - _NEAR else 1.0)
        floors.append(floor)
    return np.array(floors)


def _nodes(floors: DoubleArray, first: int, count: int) -> DoubleArray:
    """`count` nodes from the one on that stands where segment `first`, an index into `floors`, begins."""
    least = sliding_window_view(floors[first - AHEAD : first + count - 1 + AHEAD], AHEAD + 1).min(axis=1)
    total = np.zeros(count)
    for shift in range(AHEAD):
        # One after the other, so that the sum's order does not depend on how many nodes there are.
        total += least[shift : shift + count]
    return total / AHEAD
