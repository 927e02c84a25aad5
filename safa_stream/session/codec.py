"""Commands as JSON objects and back, for journals and snapshots; a transport's stricter reading is its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from safa_stream.errors import UsageError
from safa_stream.scene import WeightedPrompt
from safa_stream.session.messages import COMMANDS, Command

_BY_NAME = {kind.name: kind for kind in COMMANDS}


def command_to_json(command: Command) -> dict[str, Any]:
    """The object that `command_from_json` turns into an equal command; fields that are None are left out."""
    return {"type": command.name, **{name: value for name, value in asdict(command).items() if value is not None}}


def command_from_json(value: Mapping[str, Any]) -> Command:
    """Raises UsageError for an unknown type or field, TypeError or KeyError for what is no command at all."""
    values = dict(value)
    kind = _BY_NAME.get(values.pop("type", ""))
    if kind is None:
        raise UsageError(f"no command is called {value.get('type')!r}")
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UsageError(f"command {kind.name!r} has no field {unknown[0]!r}")
    for name in ("prompts", "negative"):
        if name in values:
            values[name] = tuple(WeightedPrompt(**prompt) for prompt in values[name])
    return kind(**values)
