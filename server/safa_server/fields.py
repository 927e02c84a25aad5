"""What a message's field may hold: kinds read from its annotation, ranges from one table. Used by wire and schema.

A value is checked as JSON gave it and returned as the dataclass wants it; what does not fit raises WireError.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from safa_server.control import Code
from safa_server.requests import LARGEST_AHEAD, LARGEST_LEAD, LEAST_LEAD
from safa_stream.channels import LARGEST_CHANNELS
from safa_stream.errors import PromptError, UsageError
from safa_stream.rendering.conversion import HIGHEST_RATE, LOWEST_RATE
from safa_stream.scene import LARGEST_SEED, WeightedPrompt, parse_prompts
from safa_stream.session.messages import LARGEST_LAYERS, LONGEST_NAME
from safa_stream.session.state import LONGEST_RAMP
from safa_stream.session.steering import LONGEST_LOOP, SHORTEST_LOOP
from safa_stream.session.strips import SILENT
from safa_stream.session.tempo import FARTHEST_BEAT, FASTEST, LONGEST_BAR, SHORTEST_BAR, SLOWEST

LARGEST_WHOLE = 2**63 - 1
LONGEST_TEXT = 4096
MOST_PROMPTS = 64


class WireError(UsageError):
    """A message that cannot be used. code: see control.CODES; field: where in the message."""

    def __init__(self, code: Code, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.field = field


@dataclass(frozen=True, slots=True)
class Range:
    """Least and greatest value (of a number) or length (of a text), and the unit of numbers."""

    least: float
    most: float
    unit: str = ""


#: By "type.field" or, for all messages, by "field"; as the session has them, which checks again, and what depends on
#: its state besides.
RANGES: Mapping[str, Range] = {
    "at": Range(0, LARGEST_WHOLE, "samples"),
    "tempo.bpm": Range(SLOWEST, FASTEST, "BPM"),
    "tempo.beat": Range(-FARTHEST_BEAT, FARTHEST_BEAT, "beats"),
    "tempo.beats_per_bar": Range(SHORTEST_BAR, LONGEST_BAR, "beats"),
    "quantise": Range(1, 64),
    "ack.sequence": Range(0, LARGEST_WHOLE),
    "channels": Range(1, LARGEST_CHANNELS),
    "configure.guidance": Range(0, 100),
    "configure.reference_ratio": Range(0, 1),
    "configure.steps": Range(1, 1000),
    "duck": Range(0, 40, "dB"),
    "duck_by": Range(0, LARGEST_LAYERS - 1),
    "from": Range(0, LARGEST_WHOLE),
    "gain": Range(SILENT, 24, "dB"),
    "grant.samples": Range(1, 2**40, "samples"),
    "header": Range(1, 2),
    "configure.hops": Range(1, 64),
    "high": Range(-24, 24, "dB"),
    "layer": Range(0, LARGEST_LAYERS - 1),
    "loop.capture.seconds": Range(SHORTEST_LOOP, LONGEST_LOOP, "s"),
    "low": Range(-24, 24, "dB"),
    "morph": Range(0, LONGEST_RAMP, "s"),
    "open.lead": Range(LEAST_LEAD, LARGEST_LEAD, "s"),
    "open.ahead": Range(0.0, LARGEST_AHEAD, "s"),
    "open.name": Range(1, LONGEST_NAME),
    "pan": Range(-1, 1),
    "playhead.position": Range(0, LARGEST_WHOLE, "samples"),
    "provenance.number": Range(0, 2**32 - 1),
    "ramp": Range(0, LONGEST_RAMP, "s"),
    "rate": Range(LOWEST_RATE, HIGHEST_RATE, "Hz"),
    "rewind.to": Range(0, LARGEST_WHOLE, "samples"),
    "scene.save.scene": Range(1, LONGEST_NAME),
    "seed": Range(0, LARGEST_SEED),
    "session": Range(1, 64),
    "token": Range(1, 256),
}


def range_of(message: str, field: str) -> Range | None:
    """The range of a message's field, None where any value of its kind will do."""
    return RANGES.get(f"{message}.{field}", RANGES.get(field))


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The kinds of an annotation such as `int | None`."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def read_field(hint: Any, value: Any, field: str, limits: Range | None) -> Any:
    """A JSON value as a field of type `hint` takes it. Raises WireError("bad_value") naming `field`."""
    for kind in alternatives(hint):
        if _fits(kind, value):
            return _convert(kind, value, field, limits)
    raise WireError("bad_value", f"field {field!r} must be {describe(hint, limits)}, not {_shown(value)}", field)


def describe(hint: Any, limits: Range | None) -> str:
    """A kind in words, such as "a number from -1 to 1, or null"."""
    words = [_in_words(kind, limits) for kind in alternatives(hint)]
    if "a whole number" in words and "a number" in words:
        words.remove("a whole number")
    return ", or ".join(words)


def check_text(value: str, field: str, limits: Range | None) -> str:
    """Text of a bearable length that can be written as UTF-8. Raises WireError."""
    least, most = (limits.least, limits.most) if limits else (0, LONGEST_TEXT)
    if not least <= len(value) <= most:
        raise WireError(
            "bad_value", f"field {field!r} must have {least:g} to {most:g} characters, not {len(value)}", field
        )
    return value


def _fits(kind: Any, value: Any) -> bool:
    if kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, str)
    if get_origin(kind) is dict:
        return isinstance(value, dict)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list) or (isinstance(value, str) and get_args(kind)[0] is WeightedPrompt)
    raise TypeError(f"no message field can be a {kind}")


def _convert(kind: Any, value: Any, field: str, limits: Range | None) -> Any:
    if kind is int or kind is float:
        return _number(kind, value, field, limits)
    if kind is str:
        return check_text(value, field, limits)
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return (
            _prompts(value, field)
            if item is WeightedPrompt
            else tuple(read_field(item, one, f"{field}[{n}]", None) for n, one in enumerate(value))
        )
    return value


def _number(kind: type[int] | type[float], value: int | float, field: str, limits: Range | None) -> int | float:
    least, most = (limits.least, limits.most) if limits else (-LARGEST_WHOLE, LARGEST_WHOLE)
    if not (math.isfinite(value) if isinstance(value, float) else True) or not least <= value <= most:
        raise WireError("bad_value", f"field {field!r} must be {describe(kind, limits)}, not {_shown(value)}", field)
    return kind(value)


def _prompts(value: str | list[Any], field: str) -> tuple[WeightedPrompt, ...]:
    try:
        if isinstance(value, str):
            found = parse_prompts(check_text(value, field, None))
        else:
            found = tuple(_prompt(item, f"{field}[{n}]") for n, item in enumerate(value))
    except PromptError as error:
        raise WireError("bad_value", str(error), field) from None
    if len(found) > MOST_PROMPTS:
        raise WireError("bad_value", f"field {field!r} has {len(found)} prompts, the most is {MOST_PROMPTS}", field)
    return found


def _prompt(item: Any, field: str) -> WeightedPrompt:
    if not isinstance(item, dict):
        raise WireError("bad_value", f'{field!r} must be an object {{"text", "weight"}}, not {_shown(item)}', field)
    for name in item:
        if name not in ("text", "weight"):
            raise WireError("unknown_field", f"unknown field {_shown(name)} in {field!r}", f"{field}.{name[:40]}")
    if not isinstance(item.get("text"), str):
        raise WireError("bad_value", f"field '{field}.text' must be a text", f"{field}.text")
    return WeightedPrompt(check_text(item["text"], f"{field}.text", None), item.get("weight", 1.0))


def _in_words(kind: Any, limits: Range | None) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "a prompt line or a list of prompts" if get_args(kind)[0] is WeightedPrompt else "a list of texts"
    if get_origin(kind) is dict:
        return "an object"
    if kind is int or kind is float:
        word = "a whole number" if kind is int else "a number"
        return word if limits is None else f"{word} {_span(limits)}"
    return {bool: "true or false", str: "a text", type(None): "null"}[kind]


def _span(limits: Range) -> str:
    unit = f" {limits.unit}" if limits.unit else ""
    if limits.most >= 2**31 - 1:
        return (
            f"of at least {limits.least:g}{unit}"
            if limits.most >= LARGEST_SEED
            else f"from {limits.least:g} to {limits.most}{unit}"
        )
    return f"from {limits.least:g} to {limits.most:g}{unit}"


def _shown(value: Any) -> str:
    """A value in an error, never long."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
