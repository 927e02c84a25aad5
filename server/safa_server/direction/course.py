"""Where a programme has come to: all that its next second depends on, as one value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from safa_server.direction.programme import Programme, Time, Visit, Volume
from safa_server.sparing import Said

LOWEST, HIGHEST = -90.0, 24.0


@dataclass(frozen=True, slots=True)
class Ramp:
    """A gain on its way: from `low` dB at `begun` to `to` dB, `seconds` later."""

    to: float
    low: float = 0.0
    begun: float = 0.0
    seconds: float = 0.0

    def at(self, now: float) -> float:
        """Where it is."""
        if now >= self.begun + self.seconds:
            return self.to
        return self.low + (self.to - self.low) * max(0.0, now - self.begun) / self.seconds

    def left(self, now: float) -> float:
        """Seconds that it still takes."""
        return max(0.0, self.begun + self.seconds - now)

    def turned(self, to: float, now: float, seconds: float) -> Ramp:
        """From where it is now to another gain."""
        return Ramp(to, self.at(now), now, seconds)


@dataclass(frozen=True, slots=True)
class Running:
    """A visit that is there: from `begun` until its fade is over at `ends`; swell: how many times it has swelled."""

    visit: Visit
    begun: float
    ends: float
    swell: int = 0
    ebbing: bool = False


@dataclass(frozen=True, slots=True)
class Sense:
    """What a sensor has come to. value: smoothed, in its own units; heard: its last word and when; ready: whether it
    may call its visit; calls: it does so now; said: the offset in force."""

    value: float
    heard: Said | None = None
    ready: bool = True
    calls: bool = False
    said: Said | None = None


#: Of the whole installation (None), or of one layer.
Target = int | None


@dataclass(frozen=True, slots=True)
class Course:
    """now: seconds since 1970; weekday, second: the same by the clock on the wall; times: what each layer that is
    always there was told; free: when layers that are not there may be begun; rested: when visits may come again; bases:
    gains without what sensors add; owed: when a gain that a sensor took from its ramp has to go on with it."""

    now: float
    weekday: int
    second: int
    times: Mapping[int, Time] = field(default_factory=dict)
    volume: Volume | None = None
    running: tuple[Running, ...] = ()
    free: Mapping[int, float] = field(default_factory=dict)
    rested: Mapping[str, float] = field(default_factory=dict)
    senses: tuple[Sense, ...] = ()
    bases: Mapping[Target, Ramp] = field(default_factory=dict)
    owed: Mapping[Target, float] = field(default_factory=dict)

    def offset(self, programme: Programme, target: Target) -> float:
        """dB that sensors add to a gain."""
        pairs = zip(programme.sensors, self.senses, strict=True)
        return sum(sense.said.value for sensor, sense in pairs if sense.said is not None and sensor.layer == target)

    def gain(self, programme: Programme, target: Target, at: float | None = None) -> float:
        """A gain in dB with what sensors add: where it is to be at a time, or what it goes to in the end."""
        base = self.bases.get(target, Ramp(0.0))
        value = (base.to if at is None else base.at(at)) + self.offset(programme, target)
        return round(min(HIGHEST, max(LOWEST, value)), 3)

    def with_base(self, target: Target, to: float, seconds: float) -> Course:
        """The same with a gain on its way to another base."""
        base = self.bases.get(target, Ramp(to))
        return replace(self, bases={**self.bases, target: base.turned(to, self.now, seconds)})

    def present(self, target: Target) -> bool:
        """Whether there is something to turn up or down."""
        return (
            target is None
            or target in self.times
            or any(one.visit.layer == target and not one.ebbing for one in self.running)
        )
