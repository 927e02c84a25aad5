"""What models that are told a length are told of a sound without end.

Their training pieces begin and end: a model that is told it makes the first 10 of 10 seconds may fade in and out, in
every view. So every view is told to be from the middle of a long piece. How well that works with published weights is
not measured here.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds that the pretended piece lasts: three minutes, a usual length of music, within all models' ranges.
PIECE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a view begins in the pretended piece, and how long that is, in seconds."""

    start: float
    total: float


def middle_of(view_seconds: float, low: float, high: float) -> Timing:
    """A view in the middle of the pretended piece, both held within what a model can be told, `low` to `high`."""
    total = min(max(PIECE_SECONDS, view_seconds), high)
    return Timing(min(max((total - view_seconds) / 2, low), high), total)
