"""Swap schedules of a stream: which overlap frames of a new view come from the finished one before it, step by step.

Joint SaFa swaps two unfinished views (`operators.self_loop_swap`). A stream knows the left view's whole trajectory
and cannot change it, so the swap is one-sided; how it is spread over the steps decides whether the join is heard.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.operators import Mask, Weights, right_share, self_loop_mask

#: Multiples of it fall evenly on 0..1 without order: a fixed dither.
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class SwapSchedule:
    """A rule for the overlap of O frames at step i of S; frame 0 is the oldest.

    kind                    frames taken from the past
    alternate               every second group of `interval` frames, at all steps: the paper's operator, one-sided
    parity                  the same, but the two halves of the frames change places from step to step
    cached                  all
    alternate-then-cached   alternate for `share` of the steps, then all
    alternate-then-free     alternate for `share` of the steps, then none
    cached-then-free        all for `share` of the steps, then none
    cut                     those left of a cut at `share` of the overlap
    cut-left                those left of a cut at the right end, which after `share` of the steps runs to the left, but
                            leaves the past the first `kept` share of the overlap: what the new view always sees
    cut-right               those left of a cut at the left end, which after `share` of the steps runs to the right end
    dither                  a fixed scattered choice, dense at the left and thin at the right
    dither-steps            the same, chosen anew at every step

    In the last `averaged` share of the steps both are mixed along a straight ramp instead. With `context`, a model that
    takes finished frames is told those that the step takes from the past: what it says about them may mean nothing, so
    it is told no others. Raises UsageError for an unknown kind or numbers out of range.
    """

    kind: str
    share: float = 0.5
    interval: int = 1
    averaged: float = 0.0
    kept: float = 0.0
    context: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"no swap schedule is called {self.kind!r}; there are {', '.join(KINDS)}")
        if not all(0 <= value <= 1 for value in (self.share, self.averaged, self.kept)):
            said = f"{self.share}, {self.averaged} and {self.kept}"
            raise UsageError(f"a schedule's shares lie between 0 and 1, not {said}")
        if self.interval < 1:
            raise UsageError(f"the swap interval must be at least 1 frame, not {self.interval}")

    def mask(self, step: int, steps: int, overlap: int) -> Mask:
        """[O]: True takes the past's frame, for 0 <= step < steps."""
        return KINDS[self.kind](self, step, steps, overlap)

    def weights(self, step: int, steps: int, overlap: int) -> Weights:
        """[O]: the past's share of each frame: 0 or 1, and between only while averaging."""
        if step >= steps - math.ceil(self.averaged * steps - 1e-9):
            return right_share(overlap)
        return self.mask(step, steps, overlap).astype(np.float32)


def _all(overlap: int, value: bool) -> Mask:
    return np.full(overlap, value)


def _early(schedule: SwapSchedule, step: int, steps: int) -> bool:
    return step < schedule.share * steps - 1e-9


def _alternate(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    return self_loop_mask(overlap, schedule.interval)


def _parity(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    return np.logical_xor(self_loop_mask(overlap, schedule.interval), step % 2 == 1)


def _cached(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    return _all(overlap, True)


def _alternate_then_cached(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    if _early(schedule, step, steps):
        return self_loop_mask(overlap, schedule.interval)
    return _all(overlap, True)


def _alternate_then_free(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    if _early(schedule, step, steps):
        return self_loop_mask(overlap, schedule.interval)
    return _all(overlap, False)


def _cached_then_free(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    return _all(overlap, _early(schedule, step, steps))


def _cut(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    return np.arange(overlap) < round(schedule.share * overlap)


def _progress(schedule: SwapSchedule, step: int, steps: int) -> float:
    """0 while the cut waits, then evenly to 1 at the last step."""
    waiting = min(math.ceil(schedule.share * steps - 1e-9), steps - 1)
    return max(0.0, (step + 1 - waiting) / (steps - waiting))


def _cut_left(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    return np.arange(overlap) < round((1 - _progress(schedule, step, steps) * (1 - schedule.kept)) * overlap)


def _cut_right(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    return np.arange(overlap) < round(_progress(schedule, step, steps) * overlap)


def _dither(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    threshold = (np.arange(overlap) + 1) * GOLDEN % 1.0
    return 1 - (np.arange(overlap) + 0.5) / max(overlap, 1) > threshold


def _dither_steps(schedule: SwapSchedule, step: int, steps: int, overlap: int) -> Mask:
    # The square root of two is a second, unrelated rotation, so that choices at neighbouring steps are scattered too.
    threshold = ((np.arange(overlap) + 1) * GOLDEN + step * math.sqrt(2)) % 1.0
    return 1 - (np.arange(overlap) + 0.5) / max(overlap, 1) > threshold


KINDS: dict[str, Callable[[SwapSchedule, int, int, int], Mask]] = {
    "alternate": _alternate,
    "parity": _parity,
    "cached": _cached,
    "alternate-then-cached": _alternate_then_cached,
    "alternate-then-free": _alternate_then_free,
    "cached-then-free": _cached_then_free,
    "cut": _cut,
    "cut-left": _cut_left,
    "cut-right": _cut_right,
    "dither": _dither,
    "dither-steps": _dither_steps,
}

DEFAULT_SCHEDULE = SwapSchedule("cut-left", share=0.25, kept=0.5)
