"""Text messages of the protocol: JSON to commands and back, driven by the message types themselves. Pure.

One table names every message; its fields, their kinds and whether they may be left out come from the dataclasses. So a
command that is added to safa_stream.session.messages is on the wire at once. PROTOCOL.md "Messages".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from safa_server.control import CONTROLS, REPLIES, Control, Reply
from safa_server.fields import LARGEST_WHOLE, WireError, range_of, read_field
from safa_server.telemetry.traceparent import Traceparent
from safa_stream.session.messages import COMMANDS, EVENTS, Command, Event

DEEPEST = 12
LONGEST_ONCE = 64
#: Fields that every request may have beside its own.
COMMON = ("type", "id", "once", "traceparent")

#: What a client may say, by the "type" of the wire.
REQUESTS: Mapping[str, type[Command] | type[Control]] = {**{kind.name: kind for kind in COMMANDS}, **CONTROLS}
#: What a client hears, by the "type" of the wire.
ANSWERS: Mapping[str, type[Event] | type[Reply]] = {**{kind.name: kind for kind in EVENTS}, **REPLIES}


@dataclass(frozen=True, slots=True)
class Slot:
    """A field of a message. name: on the wire; attribute: in the dataclass; hint: its annotation."""

    name: str
    attribute: str
    hint: Any
    required: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Request:
    """A client's message: its type, the id to answer with, what it says, by what it is known if it comes twice, and
    where in the client's trace it belongs."""

    kind: str
    id: int | None
    body: Command | Control
    once: str | None = None
    trace: Traceparent | None = None


def slots(kind: type[Any]) -> tuple[Slot, ...]:
    """The fields of a message type, in the order that they are declared, those of base classes last."""
    hints = get_type_hints(kind)
    own = [field for field in fields(kind) if field.name in kind.__annotations__]
    inherited = [field for field in fields(kind) if field.name not in kind.__annotations__]
    return tuple(_slot(field, hints[field.name]) for field in own + inherited)


def _slot(field: Field[Any], hint: Any) -> Slot:
    required = field.default is MISSING and field.default_factory is MISSING
    return Slot(field.name.rstrip("_"), field.name, hint, required, None if required else field.default)


_SLOTS = {name: slots(kind) for name, kind in REQUESTS.items()}


def parse(text: str | bytes) -> dict[str, Any]:
    """A JSON object, strictly: no NaN, no Infinity, no name twice, not too deep, text that UTF-8 can hold.

    Raises WireError.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        found = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise WireError("bad_json", f"the message is not valid JSON: {reason}") from None
    if not isinstance(found, dict):
        raise WireError("bad_message", "a message is a JSON object with a type")
    _check_depth(found)
    return found


def read(message: Mapping[str, Any]) -> Request:
    """What a client's message says. Raises WireError naming the field that is unknown, missing or wrong."""
    number, trace = request_id(message), _trace(message)
    kind = message.get("type")
    if not isinstance(kind, str):
        raise WireError("bad_message", 'a message has a field "type" that is a text', "type")
    if kind not in REQUESTS:
        raise WireError("unknown_type", f"unknown type {kind[:60]!r}; known types: {', '.join(REQUESTS)}", "type")
    known = {slot.name: slot for slot in _SLOTS[kind]}
    values = {}
    for name, value in message.items():
        if name in COMMON:
            continue
        if name not in known:
            listed = ", ".join(known) or "none"
            raise WireError(
                "unknown_field", f"unknown field {name[:60]!r} in {kind!r}; known fields: {listed}", name[:60]
            )
        slot = known[name]
        values[slot.attribute] = read_field(slot.hint, value, name, range_of(kind, name))
    for slot in known.values():
        if slot.required and slot.attribute not in values:
            raise WireError("missing_field", f"field {slot.name!r} is missing in {kind!r}", slot.name)
    return Request(kind, number, REQUESTS[kind](**values), _once(message), trace)


def request_id(message: Mapping[str, Any]) -> int | None:
    """The id that a message is answered with, None where it wants no answer. Raises WireError."""
    number = message.get("id")
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LARGEST_WHOLE:
        raise WireError("bad_value", "field 'id' must be a whole number of at least 0", "id")
    return number


def _once(message: Mapping[str, Any]) -> str | None:
    """What a client calls a message that it may have to send again. Raises WireError."""
    once = message.get("once")
    if once is not None and not (isinstance(once, str) and 0 < len(once) <= LONGEST_ONCE and once.isascii()):
        raise WireError("bad_value", f"field 'once' must be a text of 1 to {LONGEST_ONCE} ASCII characters", "once")
    return once


def _trace(message: Mapping[str, Any]) -> Traceparent | None:
    text = message.get("traceparent")
    if text is None:
        return None
    found = Traceparent.read(text) if isinstance(text, str) else None
    if found is None:
        raise WireError("bad_value", "field 'traceparent' must be as W3C Trace Context has it", "traceparent")
    return found


def write(message: Event | Reply | Command | Control, number: int | None = None, trace: str | None = None) -> str:
    """The JSON text of a message. number: the id of what it answers, or wants to be answered with; trace: a client's
    traceparent."""
    traced = {} if trace is None else {"traceparent": trace}
    return json.dumps({**to_json(message, number), **traced}, allow_nan=False, separators=(",", ":"))


def to_json(message: Event | Reply | Command | Control, number: int | None = None) -> dict[str, Any]:
    """A message as a JSON object. Numbers that JSON cannot hold are null; requests leave out fields that are None."""
    request = type(message) in REQUESTS.values()
    body = {field.name.rstrip("_"): _plain(getattr(message, field.name)) for field in fields(message)}
    if request:
        body = {name: value for name, value in body.items() if value is not None}
    return {"type": _TYPES[type(message)], **({} if number is None else {"id": number}), **body}


_TYPES: Mapping[type[Any], str] = {kind: name for table in (REQUESTS, ANSWERS) for name, kind in table.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise WireError("bad_json", f"field {name[:60]!r} stands twice in the message", name[:60])
        found[name] = value
    return found


def _no_constant(name: str) -> float:
    raise WireError("bad_json", f"{name} is not a number that a message can hold")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise WireError("bad_json", f"{text[:40]} is not a number that a message can hold")
    return value


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > 20:
        raise WireError("bad_json", f"{text[:20]}... is not a number that a message can hold")
    return int(text)


def _check_depth(message: dict[str, Any]) -> None:
    """Refuse what is nested deeper than DEEPEST, and texts with half a character, which could not be answered."""
    level: list[Any] = [message]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str) and not _is_unicode(item):
                raise WireError("bad_json", "the message has a text with half a surrogate pair")
        if not below:
            return
        level = below
    raise WireError("bad_json", f"the message is nested more than {DEEPEST} levels deep")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
