"""What sensors say, smoothed, and what becomes of it: offsets of gains, calls for visits. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from safa_server.direction.course import Sense
from safa_server.direction.programme import Programme, Sensor
from safa_server.sparing import Said, worth_saying


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that arrived by OSC."""

    address: str
    value: float


def at_rest(programme: Programme) -> tuple[Sense, ...]:
    """All sensors before they have said anything."""
    rests = [(sensor, sensor.resting) for sensor in programme.sensors]
    return tuple(Sense(value, said=_offset(sensor, value, None, 0.0)) for sensor, value in rests)


def sensed(
    programme: Programme, senses: Sequence[Sense], heard: Sequence[Reading], now: float, seconds: float
) -> tuple[Sense, ...]:
    """All sensors at `now`, `seconds` later, after what was heard in that time; of several words the last counts."""
    last = {reading.address: Said(reading.value, now) for reading in heard if math.isfinite(reading.value)}
    pairs = zip(programme.sensors, senses, strict=True)
    return tuple(_next(sensor, sense, last.get(sensor.address), now, seconds) for sensor, sense in pairs)


def _next(sensor: Sensor, sense: Sense, word: Said | None, now: float, seconds: float) -> Sense:
    heard = word or sense.heard
    aim = sensor.resting if heard is None or now - heard.at > sensor.silent_after else heard.value
    keep = math.exp(-seconds / sensor.smooth) if sensor.smooth > 0 else 0.0
    value = aim + (sense.value - aim) * keep
    calls = sense.ready and value >= sensor.above
    ready = value < sensor.below or (sense.ready and not calls)
    return Sense(value, heard, ready, calls, _offset(sensor, value, sense.said, now))


def _offset(sensor: Sensor, value: float, said: Said | None, now: float) -> Said | None:
    """The offset that is in force from now on."""
    if sensor.offset is None:
        return None
    low, high = sensor.offset
    offset = low + (high - low) * sensor.share(value)
    return Said(offset, now) if worth_saying(offset, now, said, sensor.every, sensor.least) else said
