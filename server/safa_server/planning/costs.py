"""What things cost on one machine, as `bench capacity` measures it: the values that plans are made from. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safa_stream.errors import UsageError

#: Audio frames a second, of every listener.
FRAMES = 50
#: What TCP, IPv4 and Ethernet add to bytes that fill their packets: 78 of 1538 on the wire carry nothing of ours.
ON_THE_WIRE = 1538 / 1460
FORMATS = ("f32", "s16", "s24", "opus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """CPU in seconds of one core a second of sound, memory and sizes in bytes.

    load: processes that wanted to run in the minute before; idle: a server without sessions; session: one, without
    its layers; layer: each of them; loop: the part of a session that is the event loop's; encode: by format;
    listener: one more, by format, in the event loop; relay: taking one session's frames from its engine; relayed:
    one more listener of a relay; process_bytes, session_bytes; frame_bytes: one with its WebSocket header, by
    format; start_seconds: until a server takes sessions; layers: the measured CPU of sessions by their layers,
    which session and layer were fitted to.
    """

    machine: str
    cores: int
    load: float
    model: str
    idle: float
    session: float
    layer: float
    loop: float
    encode: Mapping[str, float]
    listener: Mapping[str, float]
    relay: float
    relayed: Mapping[str, float]
    process_bytes: float
    session_bytes: float
    frame_bytes: Mapping[str, float]
    start_seconds: float
    layers: Mapping[str, float]

    def __post_init__(self) -> None:
        for name in fields(self):
            value = getattr(self, name.name)
            numbers = value.values() if isinstance(value, Mapping) else [value]
            if not isinstance(value, str) and not all(_sound(number) for number in numbers):
                raise UsageError(f"costs: {name.name!r} must be a number of at least 0, not {value!r}")

    def of_session(self, layers: float, format: str) -> float:
        """CPU of a session with one listener's encoding."""
        return self.session + layers * self.layer + self.encode[format]

    def bits(self, format: str) -> float:
        """A second, of one listener, on the wire."""
        return 8 * FRAMES * self.frame_bytes[format] * ON_THE_WIRE

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> Costs:
        """From a file that `bench capacity --json` wrote. Raises UsageError."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            values = found.get("costs", found)
            return cls(**{one.name: values[one.name] for one in fields(cls)})
        except OSError as error:
            raise UsageError(f"cannot read the costs {path}: {error.strerror}") from None
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UsageError(f"{path} holds no costs as bench capacity measures them: {error}") from None


def _sound(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def fitted(by_layers: Mapping[int, float]) -> tuple[float, float]:
    """(session, layer): the line through measured CPU by layers, least squares, no part below 0."""
    count = len(by_layers)
    mean_x, mean_y = sum(by_layers) / count, sum(by_layers.values()) / count
    spread = sum((x - mean_x) ** 2 for x in by_layers)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in by_layers.items()) / spread if spread else mean_y / mean_x
    slope = min(max(slope, 0.0), mean_y / mean_x)
    return mean_y - slope * mean_x, slope
