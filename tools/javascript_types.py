"""TypeScript types of the live protocol, made from the message types: examples/javascript/messages.d.ts.

python tools/javascript_types.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from safa_server.wire import ANSWERS, REQUESTS, slots

TARGET = Path(__file__).parents[1] / "examples/javascript/messages.d.ts"
HEAD = """\
// Made by tools/javascript_types.py from the message types of the server; server/PROTOCOL.md says what they mean.

/** A prompt line, "rain, birds:0.4", or a list of its parts. */
export type Prompts = string | { text: string; weight?: number }[];

/** A JSON object, such as a scene or a session's state. */
export type Json = Record<string, unknown>;
"""
PLAIN: Mapping[Any, str] = {
    NoneType: "null",
    int: "number",
    float: "number",
    str: "string",
    bool: "boolean",
}


def document() -> str:
    """The whole file."""
    asked = _interface("Requests", "What may be sent, by its type; all but these fields is refused.", REQUESTS, True)
    told = _interface("Messages", "What the server says, by its type.", ANSWERS, False)
    return f"{HEAD}\n{asked}\n{told}"


def _interface(name: str, about: str, kinds: Mapping[str, type[Any]], may_lack: bool) -> str:
    lines = []
    for kind, message in kinds.items():
        fields = [
            f"    {slot.name}{'?' if may_lack and not slot.required else ''}: {_written(slot.hint)};\n"
            for slot in slots(message)
        ]
        lines.append(f'  "{kind}": {{\n{"".join(fields)}  }};\n' if fields else f'  "{kind}": Record<string, never>;\n')
    return f"/** {about} */\nexport interface {name} {{\n{''.join(lines)}}}\n"


def _written(hint: Any) -> str:
    """An annotation in TypeScript."""
    if hint in PLAIN:
        return PLAIN[hint]
    if "WeightedPrompt" in str(hint):
        return "Prompts | null" if NoneType in get_args(hint) else "Prompts"
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(f'"{value}"' for value in inner)
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(map(_written, inner)))
    if origin is tuple:
        return f"{_written(inner[0])}[]"
    if origin is dict or origin is Mapping:
        return "Json"
    raise TypeError(f"no TypeScript for {hint}")


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
