"""From OSC messages to what they ask for: commands of a session, or services of the server. Pure."""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

from safa_server.fields import alternatives, range_of, read_field
from safa_server.osc_map import ROOT, SERVICES, SPELLINGS, TIMES, Spelling, hint, spelt
from safa_server.osc_packet import Argument
from safa_stream.errors import UsageError
from safa_stream.scene import WeightedPrompt
from safa_stream.session.messages import LARGEST_LAYERS, Command, Prompt
from safa_stream.session.tempo import lines

_BY_ADDRESS = {address: spelling for spelling in SPELLINGS for address in spelling.addresses}
_SERVICES = frozenset(row.address.removeprefix(ROOT + "/") for row in SERVICES)


@dataclass(frozen=True, slots=True)
class Present:
    """What reading may have to know of a session. layers: numbers of its layers; prompts: those that a layer has."""

    position: int
    rate: int
    layers: Callable[[], Sequence[int]]
    prompts: Callable[[int], tuple[WeightedPrompt, ...]]


@dataclass(frozen=True, slots=True)
class Service:
    """A message that is no command of a session. name: what follows the root, such as "play"."""

    name: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What a message asks for. session: an id, None for the default session; address: as it was sent."""

    session: str | None
    address: str
    what: tuple[Command, ...] | Service


def read_request(address: str, arguments: Sequence[Argument], present: Callable[[str | None], Present]) -> Request:
    """What a message asks for. present(session id) tells of the session that it is for.

    In place of a layer's number OSC's patterns ("*", "[0-2]", "{0,3}") stand for all layers there are that match.
    Raises UsageError naming the argument that is wrong.
    """
    session, leaf = _session(address)
    if leaf == "at":
        return _timed(session, address, arguments, present)
    if leaf == "quantise":
        return _quantised(session, address, arguments, present)
    if leaf in _SERVICES:
        return Request(session, address, Service(leaf, tuple(arguments)))
    now = present(session)
    name, layers = _layers(leaf, now)
    spelling = _BY_ADDRESS.get(name)
    if spelling is None:
        raise UsageError("there is no such address; /osc over HTTP lists all of them")
    values = _values(spelling, arguments, now)
    return Request(session, address, tuple(_command(spelling, values, layer, now) for layer in layers))


def session_of(address: str, arguments: Sequence[Argument]) -> str | None:
    """The session that a message is for, None for the default one, without reading the rest. Raises UsageError."""
    session, leaf = _session(address)
    if session is None and leaf in ("at", "quantise"):
        texts = [value for value in arguments if isinstance(value, str)]
        inner = texts[leaf == "quantise" :]
        return _session(inner[0])[0] if inner else None
    return session


def service_of(address: str) -> str | None:
    """The service that an address names, such as "audio/subscribe"; None for a command. Raises UsageError."""
    leaf = _session(address)[1]
    return leaf if leaf in _SERVICES else None


def at_time(request: Request, at: int) -> Request:
    """The same at a sample time; a service has none."""
    if isinstance(request.what, Service):
        return request
    return replace(request, what=tuple(replace(command, at=at) for command in request.what))


def sample_time(arguments: Sequence[Argument], rate: int) -> int:
    """One whole number of samples, or whole seconds and samples beyond them. Raises UsageError."""
    if not 1 <= len(arguments) <= 2:
        raise UsageError("a sample time is whole seconds and samples, or one number of samples")
    numbers: list[int] = []
    for index, value in enumerate(map(_whole, arguments), start=1):
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"argument {index} must be a whole number, not {shown(value)}")
        numbers.append(value)
    return numbers[0] if len(numbers) == 1 else numbers[0] * rate + numbers[1]


def text(arguments: Sequence[Argument], index: int, name: str, default: str | None = None) -> str:
    """An argument that is a string. Raises UsageError; without a default also where there is none."""
    value = arguments[index] if index < len(arguments) else None
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise UsageError(f"argument {index + 1} ({name}) must be a string, not {shown(value)}")
    return value


def number(arguments: Sequence[Argument], index: int, name: str, default: float, least: float, most: float) -> float:
    """An argument that is a number in a range, or is left out. Raises UsageError."""
    value = arguments[index] if index < len(arguments) else None
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UsageError(
            f"argument {index + 1} ({name}) must be a number from {least:g} to {most:g}, not {shown(value)}"
        )
    return value


def needed_number(arguments: Sequence[Argument], index: int, name: str, least: float, most: float) -> float:
    """An argument that is a number in a range. Raises UsageError, also where there is none."""
    if index >= len(arguments) or arguments[index] is None:
        raise UsageError(f"argument {index + 1} ({name}) is missing")
    return number(arguments, index, name, least, least, most)


def shown(value: Argument) -> str:
    """An argument in an error, never long."""
    if isinstance(value, bytes):
        return f"a blob of {len(value)} bytes"
    return "nothing" if value is None else repr(value)[:60]


def _session(address: str) -> tuple[str | None, str]:
    """The session's id and what follows it."""
    if not address.startswith(ROOT + "/"):
        raise UsageError(f"there is no such address; all of them begin with {ROOT}/")
    leaf = address.removeprefix(ROOT + "/")
    if not leaf.startswith("session/"):
        return None, leaf
    _, session, rest = (*leaf.split("/", 2), "", "")[:3]
    if not session or not rest:
        raise UsageError(f"a session's addresses are {ROOT}/session/ID/ and what is asked of it")
    return session, rest


def _layers(leaf: str, now: Present) -> tuple[str, tuple[int | None, ...]]:
    """An address with N in place of a layer's number, and the numbers that it names; (None,) where it has none."""
    match = re.fullmatch(r"layer/([^/]+)/(.+)", leaf)
    if match is None:
        return leaf, (None,)
    named, rest = match.groups()
    if re.fullmatch(r"[0-9]{1,3}", named):
        if int(named) >= LARGEST_LAYERS:
            raise UsageError(f"layer {named}: layers are numbered from 0 to {LARGEST_LAYERS - 1}")
        return f"layer/N/{rest}", (int(named),)
    if not re.search(r"[*?\[{]", named):
        return leaf, (None,)
    layers = tuple(layer for layer in now.layers() if _matches(str(layer), named))
    if not layers:
        raise UsageError(f"no layer matches {shown(named)}")
    return f"layer/N/{rest}", layers


def _matches(part: str, pattern: str) -> bool:
    """OSC's patterns for one part of an address, braces without nesting."""
    braces = re.fullmatch(r"([^{}]*)\{([^{}]*)\}([^{}]*)", pattern)
    if braces is None:
        return fnmatch.fnmatchcase(part, pattern)
    before, choices, after = braces.groups()
    return any(fnmatch.fnmatchcase(part, before + choice + after) for choice in choices.split(","))


def _timed(
    session: str | None, address: str, arguments: Sequence[Argument], present: Callable[[str | None], Present]
) -> Request:
    """/safa/at: a sample time, then an address with its arguments."""
    times = next((n for n, value in enumerate(arguments) if isinstance(value, str)), 0)
    if times not in (1, 2):
        raise UsageError("give a time (seconds and samples, or one number of samples), an address and its arguments")
    request = _inner(session, address, arguments, times, present)
    return at_time(request, sample_time(arguments[:times], present(request.session).rate))


def _quantised(
    session: str | None, address: str, arguments: Sequence[Argument], present: Callable[[str | None], Present]
) -> Request:
    """/safa/quantise: lines of the tempo's grid, then an address with its arguments."""
    wanted = text(arguments, 0, "lines")
    lines(wanted)
    request = _inner(session, address, arguments, 1, present)
    assert not isinstance(request.what, Service)
    return replace(request, what=tuple(replace(command, quantise=wanted) for command in request.what))


def _inner(
    session: str | None,
    address: str,
    arguments: Sequence[Argument],
    index: int,
    present: Callable[[str | None], Present],
) -> Request:
    """What the address at an argument asks for with those after it: a command that can wait."""
    inner = text(arguments, index, "address")
    named, leaf = _session(inner)
    if leaf in _SERVICES or (session is not None and named is not None):
        raise UsageError(
            f"argument {index + 1} (address): {shown(inner)} is not the address of a command that can wait"
        )
    for_session = session if named is None else named
    request = read_request(inner, arguments[index + 1 :], lambda _: present(for_session))
    return replace(request, session=for_session, address=address)


def _values(spelling: Spelling, arguments: Sequence[Argument], now: Present) -> dict[str, Any]:
    """Arguments by field; nil and what is not given are left out."""
    if set(spelling.fields) & TIMES and not spelling.ago:
        return {spelling.fields[0]: sample_time(arguments, now.rate)}
    if len(arguments) > len(spelling.fields):
        most = f"at most {len(spelling.fields)} ({', '.join(spelling.fields)})" if spelling.fields else "none"
        raise UsageError(f"{len(arguments)} arguments were given; it takes {most}")
    if spelling.ago:
        limits = spelling.parameters[0].limits
        assert limits is not None
        if not arguments or arguments[0] is None:
            raise UsageError("argument 1 (seconds) is missing")
        seconds = number(arguments, 0, "seconds", 0, 0, limits.most)
        return {spelling.fields[0]: max(0, now.position - round(seconds * now.rate))}
    values: dict[str, Any] = {}
    for index, name in enumerate(spelling.fields):
        where = f"argument {index + 1} ({name})"
        value = arguments[index] if index < len(arguments) else None
        if value is not None:
            values[name] = _field(spelling.command, name, value, where)
        elif index < spelling.needs:
            raise UsageError(f"{where} is missing")
    return values


def _field(command: type[Command], name: str, value: Argument, where: str) -> Any:
    """One field's value. Raises UsageError saying which argument it was."""
    annotation = hint(command, name)
    kinds = [kind for kind in alternatives(annotation) if kind is not NoneType]
    if isinstance(value, bytes | tuple | list):
        raise UsageError(f"{where} cannot be {shown(value)}")
    given: Any = value
    if kinds[0] is bool and not isinstance(value, str) and value in (0, 1):
        given = bool(value)
    elif kinds[0] is int:
        given = _whole(value)
    elif spelt(kinds[0]) and name == "negative" and value == "":
        given = []
    elif len(kinds) > 1 and isinstance(value, str) and value.lstrip().startswith("{"):
        given = _json(value, where)
    try:
        # An argument is left out by nil, so the errors need not say that it may be null.
        return read_field(kinds[0] if len(kinds) == 1 else annotation, given, name, range_of(command.name, name))
    except UsageError as error:
        before, field, reason = str(error).partition(f"field {name!r} ")
        raise UsageError(f"{where} {reason}" if field and not before else f"{where}: {error}") from None


def _whole(value: Argument) -> Any:
    """Programs that know floats only send whole numbers as floats."""
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value


def _json(value: str, where: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not valid JSON: {error}") from None


def _command(spelling: Spelling, values: Mapping[str, Any], layer: int | None, now: Present) -> Command:
    """A command; `layer` None leaves the field at its default."""
    given = {**values, **dict(spelling.fixed), **({} if layer is None else {"layer": layer})}
    if spelling.command is Prompt and "prompts" not in given:
        given["prompts"] = now.prompts(layer or 0)
    return spelling.command(**given)
