"""The strips of a mixer: where a layer or the master stands, and the values that follow it, each a ramp."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace

import numpy as np

from safa_stream.errors import SceneError, UsageError
from safa_stream.session.messages import LARGEST_LAYERS
from safa_stream.session.shelves import SEGMENT
from safa_stream.types import DoubleArray

SILENT = -90.0

#: field: (lowest, highest, unit)
_RANGES = {
    "gain": (SILENT, 24.0, " dB"),
    "pan": (-1.0, 1.0, ""),
    "low": (-24.0, 24.0, " dB"),
    "high": (-24.0, 24.0, " dB"),
    "duck": (0.0, 40.0, " dB"),
}
_RAMPS = ("gain", "left", "right", "audible", "fade", "low", "high", "depth")


@dataclass(frozen=True, slots=True)
class Strip:
    """Where a layer, or the master, stands in the mix. Raises SceneError naming the field that is wrong.

    gain: dB, SILENT is silence; pan: -1 left to 1 right, the squares of the two sides' gains sum to 2; low, high:
    shelves at 250 Hz and 4 kHz, dB; duck: how many dB the layer sinks while layer `duck_by` is at -30 dBFS RMS or
    above, in proportion below.
    """

    gain: float = 0.0
    pan: float = 0.0
    mute: bool = False
    solo: bool = False
    low: float = 0.0
    high: float = 0.0
    duck: float = 0.0
    duck_by: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high, unit) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise SceneError(f"mix field {name!r} must be a number from {low:g} to {high:g}{unit}, not {value!r}")
        for name in ("mute", "solo"):
            if not isinstance(getattr(self, name), bool):
                raise SceneError(f"mix field {name!r} must be true or false, not {getattr(self, name)!r}")
        if self.duck_by is not None and not is_layer(self.duck_by):
            raise SceneError(f"mix field 'duck_by' must be a layer, 0 to {LARGEST_LAYERS - 1}, not {self.duck_by!r}")


@dataclass(frozen=True, slots=True)
class Ramp:
    """A value that moves in a line from `begins` at sample `start` to `ends` at sample `stop`, and stays there."""

    begins: float
    ends: float
    start: int = 0
    stop: int = 0

    def at(self, position: int) -> float:
        """The value at one sample."""
        if position >= self.stop:
            return self.ends
        return self.begins + (self.ends - self.begins) * ((position - self.start) / (self.stop - self.start))

    def along(self, times: DoubleArray) -> float | DoubleArray:
        """The value at every sample of `times` [N]; one number where it stands still."""
        if not len(times) or times[0] >= self.stop:
            return self.ends
        values = self.begins + (self.ends - self.begins) * ((times - self.start) / (self.stop - self.start))
        return np.where(times >= self.stop, self.ends, values) if times[-1] >= self.stop else values

    def aimed(self, ends: float, position: int, length: int) -> Ramp:
        """From where it is at `position` to `ends` in `length` samples; as it is where it goes there already."""
        return self if ends == self.ends else Ramp(self.at(position), ends, position, position + length)

    def rests(self, position: int, value: float) -> bool:
        """Whether it stands still at `value`."""
        return self.ends == value and position >= self.stop


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """A layer or the master: its strip and the values that follow it.

    gain, left, right, audible (mute and solo), fade: amplitudes; low, high: square roots of amplitudes; depth: of the
    ducking, dB.
    """

    strip: Strip
    gain: Ramp
    left: Ramp
    right: Ramp
    audible: Ramp
    fade: Ramp
    low: Ramp
    high: Ramp
    depth: Ramp

    def gains(self, times: DoubleArray, channels: int) -> list[float | DoubleArray]:
        """Gain of every channel, each [N] or one number: left and right of every pair; one that is alone has no pan."""
        level = self.gain.along(times) * self.audible.along(times) * self.fade.along(times)
        pair = [level * self.left.along(times), level * self.right.along(times)]
        return pair * (channels // 2) + [level] * (channels % 2)

    def ducks(self, position: int) -> bool:
        """Whether ducking can have an effect from `position` on."""
        return not self.depth.rests(position - position % SEGMENT, 0.0)


def channel_of(strip: Strip, heard: bool) -> Channel:
    """A channel whose values stand where the strip wants them. heard: whether mute and solo let it through."""
    ramps = {name: Ramp(goal, goal) for name, goal in _goals(strip, heard).items()}
    return Channel(strip, fade=Ramp(1.0, 1.0), **ramps)


def _goals(strip: Strip, heard: bool) -> dict[str, float]:
    turn = (strip.pan + 1) * math.pi / 4
    return {
        "gain": 0.0 if strip.gain <= SILENT else 10 ** (strip.gain / 20),
        "left": 1.0 if strip.pan == 0 else math.sqrt(2) * math.cos(turn),
        "right": 1.0 if strip.pan == 0 else math.sqrt(2) * math.sin(turn),
        "audible": float(heard),
        "low": 10 ** (strip.low / 40),
        "high": 10 ** (strip.high / 40),
        "depth": 0.0 if strip.duck_by is None else float(strip.duck),
    }


def is_heard(strip: Strip, strips: Iterable[Strip]) -> bool:
    """Whether mute, and the solo of any of `strips`, let a layer through."""
    return not strip.mute and (strip.solo or not any(other.solo for other in strips))


def is_layer(value: object) -> bool:
    """Whether it is a layer's number."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_LAYERS


def checked(layer: int | None, strip: Strip) -> Strip:
    """The strip, as one of a layer or (None) the master. Raises UsageError for what that cannot have."""
    if layer is None:
        if strip.solo or strip.duck or strip.duck_by is not None:
            raise UsageError("mix fields 'solo', 'duck' and 'duck_by' are for layers; the master has none of them")
    elif not is_layer(layer):
        raise UsageError(f"a layer's number is from 0 to {LARGEST_LAYERS - 1}, not {layer!r}")
    elif strip.duck_by == layer:
        raise UsageError(f"mix field 'duck_by': layer {layer} cannot be ducked by itself")
    return strip


def aimed(channel: Channel, strip: Strip, heard: bool, position: int, length: int) -> Channel:
    """A channel on its way to another strip, from `position` on for `length` samples."""
    ramps = {name: getattr(channel, name).aimed(goal, position, length) for name, goal in _goals(strip, heard).items()}
    return replace(channel, strip=strip, **ramps)


def row_of(channel: Channel) -> list[float]:
    """A channel as numbers, for snapshots."""
    strip = [-1.0 if value is None else float(value) for value in astuple(channel.strip)]
    return strip + [float(value) for name in _RAMPS for value in astuple(getattr(channel, name))]


def channel_of_row(row: DoubleArray) -> Channel:
    """What `row_of` wrote. Raises SceneError or ValueError for what it did not."""
    gain, pan, mute, solo, low, high, depth, by = row[:8].tolist()
    strip = Strip(gain, pan, bool(mute), bool(solo), low, high, depth, None if by < 0 else int(by))
    lines = row[8:].reshape(len(_RAMPS), 4).tolist()
    ramps = (Ramp(begins, ends, int(start), int(stop)) for begins, ends, start, stop in lines)
    return Channel(strip, **dict(zip(_RAMPS, ramps, strict=True)))
