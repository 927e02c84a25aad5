"""A session's tempo: which beat sounds at which sample, and where the lines are that commands can wait for.

    beat                0        1        2        3        4        5          6          7
    lines of a beat     |        |        |        |        |        |          |          |
    lines of a bar      |                                   |                                    (4 beats a bar)
    stretches           [ 120 BPM ........................................ ][ 100 BPM .........

Beats are quarter notes, as Link and MIDI clock count them; bars begin at whole multiples of `beats_per_bar`. All is
counted on the session's own clock, so nothing here drifts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from safa_stream.errors import SceneError, UsageError

#: Link's range, beats a minute.
SLOWEST, FASTEST = 20.0, 999.0
DEFAULT_BPM, DEFAULT_BAR = 120.0, 4.0
SHORTEST_BAR, LONGEST_BAR = 0.25, 64.0
MOST_LINES = 64
FARTHEST_BEAT = 1e8
#: Hops that take no notice of the grid.
FREE = "free"
#: Stretches that ended earlier than this are forgotten: what left a session is not asked for after so many seconds.
REMEMBERED_SECONDS = 10.0
#: So much of a sample is rounding.
ROUNDING = 0.01

_QUANTISE = re.compile(r"(?:([1-9][0-9]?) )?(beat|bar)(s?)")


@dataclass(frozen=True, slots=True)
class Stretch:
    """From sample `start` on, where the beat is `beat`, the tempo is `bpm`."""

    start: int
    beat: float
    bpm: float


@dataclass(frozen=True, slots=True)
class Grid:
    """Beats on a clock of `rate` samples a second. stretches: in order, the last without an end."""

    rate: int
    stretches: tuple[Stretch, ...] = (Stretch(0, 0.0, DEFAULT_BPM),)
    beats_per_bar: float = DEFAULT_BAR

    @property
    def bpm(self) -> float:
        """Beats a minute, from the last change on."""
        return self.stretches[-1].bpm

    def bpm_at(self, sample: float) -> float:
        """Beats a minute at a sample."""
        return self._stretch(sample).bpm

    def beat(self, sample: float) -> float:
        """The beat at a sample, which may lie between two. Never falls from one to the next, unless it was told to."""
        stretch = self._stretch(sample)
        return stretch.beat + (sample - stretch.start) * stretch.bpm / (60 * self.rate)

    def sample(self, beat: float) -> int:
        """The first sample at or after a beat, as the tempo is now."""
        last = self.stretches[-1]
        return last.start + math.ceil((beat - last.beat) * 60 * self.rate / last.bpm - ROUNDING)

    def interval(self, quantise: str) -> float:
        """Beats from one line to the next. Raises UsageError for what names no lines."""
        count, unit = lines(quantise)
        return count * (self.beats_per_bar if unit == "bar" else 1.0)

    def line(self, sample: int, quantise: str) -> float:
        """The beat of the first line whose sample is this one or a later one."""
        interval = self.interval(quantise)
        here, before = self.beat(sample), self.beat(sample - 1)
        step = max(self.bpm_at(sample), self.bpm_at(sample - 1)) / (60 * self.rate)
        if not 0 <= here - before <= 2 * step:
            before = here - step  # a jump to this sample: what it went over is not waited for
        return (math.floor((before + ROUNDING * step) / interval) + 1) * interval

    def changed(self, sample: int, bpm: float | None, beat: float | None, beats_per_bar: float | None) -> Grid:
        """Another tempo, beat or bar from a sample on; what is None stays, so without `beat` there is no jump.

        Raises UsageError naming the field that is out of range.
        """
        now = Stretch(
            sample,
            self.beat(sample) if beat is None else float(_within("beat", beat, -FARTHEST_BEAT, FARTHEST_BEAT)),
            self.bpm if bpm is None else float(_within("bpm", bpm, SLOWEST, FASTEST)),
        )
        bar = self.beats_per_bar if beats_per_bar is None else _bar(beats_per_bar)
        oldest = sample - round(REMEMBERED_SECONDS * self.rate)
        before = tuple(one for one in self.stretches if one.start < sample)
        kept = tuple(one for one, after in zip(before, before[1:], strict=False) if after.start > oldest)
        return replace(self, stretches=(*kept, *before[-1:], now), beats_per_bar=bar)

    def later(self, samples: int) -> Grid:
        """The same beats so many samples later."""
        return replace(self, stretches=tuple(replace(one, start=one.start + samples) for one in self.stretches))

    def as_dict(self) -> dict[str, Any]:
        """The JSON object that `from_dict` turns into an equal grid."""
        stretches = [[one.start, one.beat, one.bpm] for one in self.stretches]
        return {"rate": self.rate, "stretches": stretches, "beats_per_bar": self.beats_per_bar}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Grid:
        """What `as_dict` wrote."""
        stretches = tuple(Stretch(int(start), float(beat), float(bpm)) for start, beat, bpm in value["stretches"])
        return cls(value["rate"], stretches, value["beats_per_bar"])

    def _stretch(self, sample: float) -> Stretch:
        for stretch in reversed(self.stretches):
            if stretch.start <= sample:
                return stretch
        return self.stretches[0]


def begin(rate: int, bpm: float, beats_per_bar: float) -> Grid:
    """A grid whose beat 0 is sample 0."""
    return Grid(rate, (Stretch(0, 0.0, float(bpm)),), float(beats_per_bar))


def check(bpm: Any, beats_per_bar: Any, hops: Any) -> None:
    """Raise SceneError for a scene's tempo, or lines for its hops, that cannot be."""
    try:
        _within("bpm", bpm, SLOWEST, FASTEST)
        _bar(beats_per_bar)
        check_hops(hops)
    except UsageError as error:
        raise SceneError(f"live scene {error}") from None


def lines(quantise: Any, must: str = "'quantise' must be") -> tuple[int, str]:
    """How many of which unit lie between lines: "beat", "bar", "2 beats", "4 bars". Raises UsageError for the rest.

    must: how the error names the field.
    """
    found = _QUANTISE.fullmatch(quantise) if isinstance(quantise, str) else None
    count = 0 if found is None else int(found[1] or 1)
    if found is None or not 1 <= count <= MOST_LINES or (found[3] == "s") != (count > 1):
        raise UsageError(
            f'field \'quantise\' must be "beat", "bar", or 2 to {MOST_LINES} of them such as "4 bars", not {quantise!r}'
        )
    return count, found[2]


def check_hops(hops: Any) -> None:
    """Raise UsageError for what is neither FREE nor names lines."""
    if hops != FREE:
        lines(hops, f"'hops' must be \"{FREE}\",")


def _bar(value: Any) -> float:
    return float(_within("beats_per_bar", value, SHORTEST_BAR, LONGEST_BAR))


def _within(name: str, value: Any, low: float, high: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise UsageError(f"field {name!r} must be a number from {low:g} to {high:g}, not {value!r}")
    return float(value)
