"""What an installation does by itself: values of a programme, and which of its entries hold at a time of day. Pure.

A programme has four kinds of entries. *Times* say what a layer that is always there sounds like from a time of day on,
*volumes* how loud all of it is. *Visits* are layers that come, swell, ebb and go, by chance or when a sensor calls.
*Sensors* move gains, and call visits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Protocol, TypeVar

from safa_stream.errors import UsageError
from safa_stream.scene import WeightedPrompt

DAY = 86_400
EVERY_DAY = frozenset(range(7))


class Entry(Protocol):
    """Something that holds from a time of day on. at: seconds after midnight; days: 0 is Monday."""

    @property
    def at(self) -> int: ...

    @property
    def days(self) -> frozenset[int]: ...


SomeEntry = TypeVar("SomeEntry", bound=Entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """From `at` on, `layer` moves to `prompts` and to `gain` (dB) over `morph` seconds."""

    at: int
    prompts: tuple[WeightedPrompt, ...]
    layer: int = 0
    gain: float = 0.0
    morph: float = 300.0
    days: frozenset[int] = EVERY_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """From `at` on, the whole installation moves to `gain` (dB) over `ramp` seconds."""

    at: int
    gain: float
    ramp: float = 300.0
    days: frozenset[int] = EVERY_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A layer that comes for a while.

    per_hour: how often it comes by chance, on average, in the hours of `between` (seconds after midnight; None: all
    day) while its layer is free; lasts: seconds, shortest and longest, rise and ebb in them; rest: seconds after it
    until it may come again. gain: dB at its loudest; swell: how many dB it sinks below that, now and then, anew every
    `swell_every` seconds.
    """

    name: str
    layer: int
    prompts: tuple[WeightedPrompt, ...]
    per_hour: float = 0.0
    between: tuple[int, int] | None = None
    lasts: tuple[float, float] = (300.0, 900.0)
    rise: float = 30.0
    ebb: float = 60.0
    rest: float = 0.0
    gain: float = 0.0
    pan: float = 0.0
    swell: float = 0.0
    swell_every: float = 45.0

    def __post_init__(self) -> None:
        if self.lasts[0] > self.lasts[1] or self.lasts[0] < self.rise + self.ebb:
            raise UsageError(f"visit {self.name!r}: 'lasts' must be [shortest, longest], and hold 'rise' and 'ebb'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """Numbers that arrive by OSC at `address`.

    input: the values that mean least and most; smooth: seconds in which a change gets through to 63 %; silent_after:
    seconds without a word after which it goes back to `idle` (the least where None). offset: dB that it adds to the
    gain of `layer` (None: of all) at least and most, said again only when it has moved by `least` dB and `every`
    seconds have passed. starts: the visit that it calls when it rises above `above`; it can call again when it has been
    below `below`.
    """

    address: str
    input: tuple[float, float] = (0.0, 1.0)
    smooth: float = 1.0
    silent_after: float = 60.0
    idle: float | None = None
    layer: int | None = None
    offset: tuple[float, float] | None = None
    least: float = 0.5
    every: float = 1.0
    starts: str | None = None
    above: float = 0.7
    below: float = 0.5

    def __post_init__(self) -> None:
        if self.input[0] == self.input[1]:
            raise UsageError(f"sensor {self.address!r}: 'input' must be two different numbers")
        if self.below > self.above:
            raise UsageError(f"sensor {self.address!r}: 'below' must not be above 'above'")

    @property
    def resting(self) -> float:
        """The value that it has before it has said anything."""
        return self.input[0] if self.idle is None else self.idle

    def share(self, value: float) -> float:
        """Where a value lies from least (0) to most (1)."""
        low, high = self.input
        return min(1.0, max(0.0, (value - low) / (high - low)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """All of it. seed: of chance; zone: whose time of day it is, None the machine's; together: visits at a time at
    most; spare: seconds that a layer stays free between two visits, for the session to end it."""

    times: tuple[Time, ...]
    volumes: tuple[Volume, ...] = ()
    visits: tuple[Visit, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    seed: int = 0
    zone: tzinfo | None = None
    together: int = 2
    spare: float = 5.0

    def __post_init__(self) -> None:
        if not self.times:
            raise UsageError("a programme needs at least one [[time]], which says what is to be heard")
        names = [visit.name for visit in self.visits]
        if len(set(names)) < len(names):
            raise UsageError("two visits have the same name")
        for visit in self.visits:
            if visit.layer in self.layers:
                raise UsageError(f"visit {visit.name!r}: layer {visit.layer} has a [[time]], so it is always there")
        for sensor in self.sensors:
            if sensor.starts is not None and sensor.starts not in names:
                raise UsageError(f"sensor {sensor.address!r}: there is no visit {sensor.starts!r}")
            if sensor.layer is not None and sensor.layer not in {*self.layers, *(v.layer for v in self.visits)}:
                raise UsageError(f"sensor {sensor.address!r}: nothing is ever heard on layer {sensor.layer}")

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that are always there, in order."""
        return tuple(sorted({time.layer for time in self.times}))

    def local(self, now: float) -> tuple[int, int]:
        """The day of the week (0 is Monday) and the seconds since midnight at `now`, seconds since 1970."""
        there = datetime.fromtimestamp(now, self.zone)
        return there.weekday(), 3600 * there.hour + 60 * there.minute + there.second


def holding(entries: Sequence[SomeEntry], weekday: int, second: int) -> SomeEntry | None:
    """The entry that began last, on this day or one before it; None where there is none at all."""
    for back in range(8):
        begun = [one for one in entries if (weekday - back) % 7 in one.days and (back or one.at <= second)]
        if begun:
            return max(begun, key=lambda one: one.at)
    return None


def within(hours: tuple[int, int] | None, second: int) -> bool:
    """Whether a second of the day lies in hours that may reach over midnight."""
    if hours is None:
        return True
    begin, end = hours
    return begin <= second < end if begin <= end else second >= begin or second < end
