"""The protocol as documents, made from the message types: AsyncAPI for programs, tables for PROTOCOL.md.

python -m safa_server.schema            rewrite server/PROTOCOL.md and server/protocol.json
python -m safa_server.schema --check    exit 1 where they are out of date
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from safa_server import control, header
from safa_server.fields import LARGEST_WHOLE, LONGEST_TEXT, MOST_PROMPTS, Range, alternatives, describe, range_of
from safa_server.limits import Limits
from safa_server.metrics import FAMILIES
from safa_server.osc_documents import table_as_markdown
from safa_server.sections import with_tables
from safa_server.telemetry.traceparent import LONGEST, PATTERN
from safa_server.wire import ANSWERS, REQUESTS, Slot, slots
from safa_stream.scene import WeightedPrompt
from safa_stream.session.messages import COMMANDS, EVENTS

FOLDER = Path(__file__).resolve().parents[1]


def document() -> dict[str, Any]:
    """The protocol as an AsyncAPI 3.0 document; every message has a JSON Schema of its own."""
    requests = {f"client.{name}": _message(name, kind, True) for name, kind in REQUESTS.items()}
    answers = {f"server.{name}": _message(name, kind, False) for name, kind in ANSWERS.items()}
    answers["server.audio"] = {
        "name": "audio",
        "contentType": "application/octet-stream",
        "summary": "A binary message: one audio frame, a header of 48 bytes (64 with beat time) and the payload.",
        "payload": {"type": "string", "format": "binary"},
        "x-header": [
            {"offset": offset, "type": kind, "name": name, "meaning": meaning}
            for offset, kind, name, meaning in header.TABLE
        ],
    }
    messages = {**requests, **answers}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "safa-stream live",
            "version": "1",
            "description": "Sub-protocol safa.v1: JSON texts to steer a session, binary frames of its sound.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "safa": {
                "address": "/ws",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": {"token": _TEXT}}}},
            }
        },
        "operations": {
            "take": {
                "action": "receive",
                "channel": {"$ref": "#/channels/safa"},
                "messages": [{"$ref": f"#/channels/safa/messages/{name}"} for name in requests],
            },
            "tell": {
                "action": "send",
                "channel": {"$ref": "#/channels/safa"},
                "messages": [{"$ref": f"#/channels/safa/messages/{name}"} for name in answers],
            },
        },
        "components": {"messages": messages},
    }


def message_schema(name: str, request: bool = True) -> dict[str, Any]:
    """The JSON Schema of one text message, by its type on the wire."""
    kind = REQUESTS[name] if request else ANSWERS[name]
    properties: dict[str, Any] = {
        "type": {"const": name},
        "id": {"type": ["integer", "null"], "minimum": 0, "maximum": LARGEST_WHOLE},
    }
    if request:
        properties["traceparent"] = {"type": ["string", "null"], "pattern": PATTERN, "maxLength": LONGEST}
    required = ["type"]
    for slot in slots(kind):
        properties[slot.name] = _schema(slot.hint, range_of(name, slot.name) if request else None)
        if not slot.required:
            properties[slot.name]["default"] = _shown_default(slot)
        if slot.required or not request:
            required.append(slot.name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def tables() -> Mapping[str, Callable[[], str]]:
    """What makes each table of PROTOCOL.md, by its name there."""
    return {
        "commands": lambda: _messages({kind.name: kind for kind in COMMANDS}, hidden=("at", "quantise"), ranges=True),
        "controls": lambda: _messages(control.CONTROLS, ranges=True),
        "events": lambda: _messages({kind.name: kind for kind in EVENTS}, hidden=("position",)),
        "replies": lambda: _messages(control.REPLIES),
        "codes": lambda: _table(("code", "meaning"), [(f"`{code}`", about) for code, about in control.CODES.items()]),
        "header": lambda: _table(("offset", "type", "name", "meaning"), header.TABLE),
        "limits": lambda: _table(
            ("limit", "default", "meaning"),
            [(f"`{one.name}`", f"{one.default:g}", one.metadata["help"]) for one in fields(Limits)],
        ),
        "metrics": lambda: _table(
            ("metric", "kind", "labels", "meaning"),
            [(f"`{f.name}`", f.kind, ", ".join(f"`{label}`" for label in f.labels), f.help) for f in FAMILIES],
        ),
        "osc-in": lambda: table_as_markdown("in"),
        "osc-out": lambda: table_as_markdown("out"),
    }


def updated(text: str) -> str:
    """PROTOCOL.md with every table as the code has it. Raises KeyError for a table that nothing makes."""
    return with_tables(text, tables())


def files(folder: Path) -> dict[Path, str]:
    """What both documents should hold."""
    page = folder / "PROTOCOL.md"
    return {
        page: updated(page.read_text(encoding="utf-8")),
        folder / "protocol.json": json.dumps(document(), indent=1, ensure_ascii=False) + "\n",
    }


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m safa_server.schema", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is out of date")
    options = parser.parse_args(arguments)
    stale = [path for path, text in files(FOLDER).items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(
            f"{path.name} is out of date: run python -m safa_server.schema" if options.check else f"wrote {path.name}"
        )
    if not options.check:
        for path, text in files(FOLDER).items():
            path.write_text(text, encoding="utf-8")
    return 1 if stale and options.check else 0


_TEXT = {"type": "string", "maxLength": LONGEST_TEXT}
_PROMPT = {
    "type": "object",
    "properties": {"text": {**_TEXT, "minLength": 1}, "weight": {"type": "number", "exclusiveMinimum": 0}},
    "required": ["text"],
    "additionalProperties": False,
}


def _message(name: str, kind: type[Any], request: bool) -> dict[str, Any]:
    return {"name": name, "summary": _meaning(kind), "payload": message_schema(name, request)}


def _schema(hint: Any, limits: Range | None) -> dict[str, Any]:
    kinds = [_kind_schema(kind, limits) for kind in alternatives(hint)]
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _kind_schema(kind: Any, limits: Range | None) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is dict:
        return {"type": "object"}
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        listed = {"type": "array", "items": _PROMPT if item is WeightedPrompt else _schema(item, None)}
        return {"anyOf": [_TEXT, {**listed, "maxItems": MOST_PROMPTS}]} if item is WeightedPrompt else listed
    if kind is str:
        return _TEXT if limits is None else {"type": "string", "minLength": limits.least, "maxLength": limits.most}
    name = {bool: "boolean", int: "integer", float: "number", type(None): "null"}[kind]
    if limits is None or kind in (bool, type(None)):
        return {"type": name}
    return {"type": name, "minimum": limits.least, "maximum": limits.most}


def _shown_default(slot: Slot) -> Any:
    return list(slot.default) if isinstance(slot.default, tuple) else slot.default


def _messages(kinds: Mapping[str, type[Any]], hidden: tuple[str, ...] = (), ranges: bool = False) -> str:
    rows = []
    for name, kind in kinds.items():
        listed = [_field(name, slot, ranges) for slot in slots(kind) if slot.name not in hidden]
        rows.append((f"`{name}`", "<br>".join(listed), _meaning(kind)))
    return _table(("type", "fields", "meaning"), rows)


def _field(message: str, slot: Slot, ranges: bool) -> str:
    words = describe(slot.hint, range_of(message, slot.name) if ranges else None)
    if not ranges:
        return f"`{slot.name}`: {words}"
    default = "" if slot.required else f" = {json.dumps(_shown_default(slot))}"
    return f"`{slot.name}`{default}: {words}"


def _meaning(kind: type[Any]) -> str:
    """A message's docstring in one line."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split())


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
