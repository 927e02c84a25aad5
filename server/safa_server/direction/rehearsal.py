"""A programme without a session: what would be said when, days in a moment; and readings of sensors kept as lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from safa_server.direction.director import TICK, begin, step
from safa_server.direction.programme import Programme
from safa_server.direction.senses import Reading
from safa_stream.errors import UsageError
from safa_stream.scene import format_prompts
from safa_stream.session.messages import Command


@dataclass(frozen=True, slots=True)
class Heard:
    """A reading and when it came, seconds since 1970."""

    at: float
    reading: Reading

    def line(self) -> str:
        """As a line of a sensor log."""
        return json.dumps({"at": round(self.at, 3), "address": self.reading.address, "value": self.reading.value})


def read_log(path: Path) -> list[Heard]:
    """The readings of a sensor log, in order. Raises UsageError naming the line that is none."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the sensor log {path}: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            heard = Heard(float(entry["at"]), Reading(str(entry["address"]), float(entry["value"])))
        except (ValueError, TypeError, KeyError):
            raise UsageError(f"{path}, line {number}: no reading with 'at', 'address' and 'value'") from None
        if not math.isfinite(heard.at):
            raise UsageError(f"{path}, line {number}: 'at' must be seconds since 1970")
        found.append(heard)
    return sorted(found, key=lambda heard: heard.at)


def rehearse(
    programme: Programme, start: float, seconds: float, heard: Iterable[Heard] = ()
) -> Iterator[tuple[float, Command]]:
    """What is said, and when (seconds since 1970), from a session on that has nothing yet."""
    coming = iter(heard)
    following = next(coming, None)
    course, commands = begin(programme, start, {})
    yield from ((course.now, command) for command in commands)
    while course.now + TICK <= start + seconds:
        readings = []
        while following is not None and following.at < course.now + TICK:
            readings.append(following.reading)
            following = next(coming, None)
        course, commands = step(programme, course, readings)
        yield from ((course.now, command) for command in commands)


def shown(command: Command) -> str:
    """A command as people read it."""
    parts = [command.name]
    for field in fields(command):
        value = getattr(command, field.name)
        if value is None or field.name == "seed" or (value == field.default and field.name != "layer"):
            continue
        if field.name in ("prompts", "negative"):
            value = json.dumps(format_prompts(value), ensure_ascii=False)
        parts.append(f"{field.name} {value:g}" if isinstance(value, float) else f"{field.name} {value}")
    return "  ".join(parts)
