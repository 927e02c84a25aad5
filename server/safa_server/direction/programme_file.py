"""Programmes as TOML files, read strictly: an unknown or wrong field is named in one line.

seed = 7
zone = "Europe/Berlin"
[[time]]
at = "05:30"
prompts = "birds at dawn, wind:0.3"
[[visit]]
name = "storm"
layer = 1
...
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from safa_server.direction.programme import EVERY_DAY, Programme, Sensor, Time, Visit, Volume
from safa_stream.errors import SafaError, UsageError
from safa_stream.scene import LARGEST_SEED, parse_prompts
from safa_stream.session.messages import LARGEST_LAYERS

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONGEST = 3600.0

Kind = TypeVar("Kind", Time, Volume, Visit, Sensor)
Reader = Callable[[Any], Any]


class _Expected(Exception):
    """What a reader wanted instead of the value."""


def read_programme(path: Path) -> Programme:
    """A programme from its file. Raises UsageError naming the file and the field."""
    try:
        return programme_from(table_of(path))
    except SafaError as error:
        raise UsageError(f"{path}: {error}") from None


def table_of(path: Path) -> dict[str, Any]:
    """What is written in a programme's file. Raises UsageError."""
    try:
        with path.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as error:
        raise UsageError(f"cannot read the programme: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the programme is not TOML: {error}") from None


def programme_from(table: Mapping[str, Any]) -> Programme:
    """A programme from the tables of its file. Raises UsageError."""
    known = {*_LISTS, *_TOP}
    for name in table:
        if name not in known:
            raise UsageError(f"unknown field {name!r}; known: {', '.join(sorted(known))}")
    values = {name: _read(reader, table[name], name) for name, reader in _TOP.items() if name in table}
    for name, (kind, target) in _LISTS.items():
        listed = table.get(name, [])
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise UsageError(f"{name} must be tables, [[{name}]]")
        values[target] = tuple(_entry(kind, one, f"{name} {n}") for n, one in enumerate(listed, 1))
    return Programme(**values)


def _entry(kind: type[Kind], table: Mapping[str, Any], where: str) -> Kind:
    known = {field.name: field for field in fields(kind)}
    for name in table:
        if name not in known:
            raise UsageError(f"{where}: unknown field {name!r}; known: {', '.join(known)}")
    for name, field in known.items():
        if name not in table and field.default is MISSING:
            raise UsageError(f"{where}: field {name!r} is missing")
    return kind(**{name: _read(_FIELDS[name], value, f"{where}: {name}") for name, value in table.items()})


def _read(reader: Reader, value: Any, where: str) -> Any:
    try:
        return reader(value)
    except SafaError as error:
        raise UsageError(f"{where}: {error}") from None
    except _Expected as expected:
        raise UsageError(f"{where} must be {expected}, not {value!r}") from None


def _number(low: float, high: float, unit: str = "") -> Reader:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _Expected(f"a number from {low:g} to {high:g}{unit}")
        return float(value)

    return read


def _whole(low: int, high: int) -> Reader:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _Expected(f"a whole number from {low} to {high}")
        return value

    return read


def _pair(reader: Reader) -> Reader:
    def read(value: Any) -> tuple[Any, Any]:
        if not isinstance(value, list) or len(value) != 2:
            raise _Expected("a list of two values")
        return reader(value[0]), reader(value[1])

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Expected("a text")
    return value


def _address(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(/[^\s#*,?\[\]{}/]+)+", value):
        raise _Expected('an OSC address such as "/sensor/motion"')
    return value


def _clock(value: Any) -> int:
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
    if found is None:
        raise _Expected('a time of day such as "22:00"')
    return 3600 * int(found[1]) + 60 * int(found[2])


def _days(value: Any) -> frozenset[int]:
    if not isinstance(value, list) or not value or not all(day in DAYS for day in value):
        raise _Expected(f"a list of days: {', '.join(DAYS)}")
    return frozenset(DAYS.index(day) for day in value) & EVERY_DAY


def _zone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(_text(value))
    except (OSError, KeyError, ValueError):
        raise _Expected('a time zone such as "Europe/Berlin"') from None


_SECONDS, _DECIBELS = _number(0, LONGEST, " s"), _number(-90, 24, " dB")
_ANY = _number(-math.inf, math.inf)
_LISTS: Mapping[str, tuple[type[Any], str]] = {
    "time": (Time, "times"),
    "volume": (Volume, "volumes"),
    "visit": (Visit, "visits"),
    "sensor": (Sensor, "sensors"),
}
_TOP: Mapping[str, Reader] = {
    "seed": _whole(0, LARGEST_SEED),
    "zone": _zone,
    "together": _whole(1, LARGEST_LAYERS - 1),
}
#: A field means the same in every kind of entry.
_FIELDS: Mapping[str, Reader] = {
    "above": _ANY,
    "address": _address,
    "at": _clock,
    "below": _ANY,
    "between": _pair(_clock),
    "days": _days,
    "ebb": _SECONDS,
    "every": _number(0.05, LONGEST, " s"),
    "gain": _DECIBELS,
    "idle": _ANY,
    "input": _pair(_ANY),
    "lasts": _pair(_number(1, 86_400, " s")),
    "layer": _whole(0, LARGEST_LAYERS - 1),
    "least": _number(0.1, 24, " dB"),
    "morph": _SECONDS,
    "name": _text,
    "offset": _pair(_number(-90, 24, " dB")),
    "pan": _number(-1, 1),
    "per_hour": _number(0, 60),
    "prompts": lambda value: parse_prompts(_text(value)),
    "ramp": _SECONDS,
    "rest": _number(0, 604_800, " s"),
    "rise": _SECONDS,
    "silent_after": _number(1, 86_400, " s"),
    "smooth": _number(0, LONGEST, " s"),
    "starts": _text,
    "swell": _number(0, 60, " dB"),
    "swell_every": _number(5, LONGEST, " s"),
}
