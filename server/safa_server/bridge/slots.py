"""Prompt slots: up to six texts, weighted by parameters or by a point between them, as on the server's page. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from safa_server.bridge.parameters import SLOTS, Values
from safa_stream.errors import UsageError
from safa_stream.scene import WeightedPrompt

#: What an instance begins with that was told nothing.
FIRST = ("rain on a tent", "distant thunder", "wind in the trees", "birds at dawn", "a brook over stones", "campfire")
#: Blends fainter than this are left out, and a point so near to a prompt (squared) means that prompt alone.
FAINT, ON = 0.03, 1e-3
_RADIUS = 0.36


def read_slots(text: str) -> tuple[str, ...]:
    """Slots from lines, or from one line with commas; lines that begin with # are left out. Raises UsageError."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = tuple(" ".join(part.split()) for line in lines for part in line.split(",") if part.strip())
    if len(found) > SLOTS:
        raise UsageError(f"there are {SLOTS} prompt slots, the text has {len(found)} prompts")
    for prompt in found:
        if ":" in prompt:
            raise UsageError(f"prompt {prompt!r}: weights are the plugin's parameters, leave ':' out")
    return found


def read_prompts_file(text: str) -> dict[int, tuple[str, ...]]:
    """Slots of instances by number: what stands before a line such as "[2]" is number 1's. Raises UsageError."""
    parts: dict[int, list[str]] = {1: []}
    number = 1
    for line in text.splitlines():
        head = line.strip()
        if head.startswith("[") and head.endswith("]"):
            if not head[1:-1].strip().isdigit():
                raise UsageError(f"the prompts file has a line {head!r}; instances are named by number, such as [2]")
            number = int(head[1:-1])
            parts.setdefault(number, [])
        else:
            parts[number].append(line)
    slots = {instance: read_slots("\n".join(lines)) for instance, lines in parts.items()}
    return {instance: found for instance, found in slots.items() if found}


def weighted(slots: Sequence[str], values: Values) -> tuple[WeightedPrompt, ...]:
    """What the parameters make of the slots, each text once; empty where all weights are 0.

    The weights and what the point means are mixed by `xy`.
    """
    share = values["xy"]
    blended = blend(places(len(slots)), (values["x"], values["y"]))
    found: dict[str, WeightedPrompt] = {}
    for number, text in enumerate(slots, 1):
        weight = (1 - share) * values[f"weight_{number}"] + share * blended[number - 1]
        key = text.lower()
        if (weight := round(weight, 3)) > 0:
            before = found[key].weight if key in found else 0.0
            found[key] = WeightedPrompt(text, round(before + weight, 3))
    return tuple(found.values())


def places(count: int) -> tuple[tuple[float, float], ...]:
    """Where so many prompts stand on the surface, 0..1 x 0..1: evenly on a circle, as on the page."""
    if count == 1:
        return ((0.5, 0.5),)
    first = math.pi if count == 2 else math.pi * (1 + 1 / count)
    turns = [2 * math.pi * number / count + first for number in range(count)]
    return tuple((0.5 + _RADIUS * math.cos(turn), 0.5 + _RADIUS * math.sin(turn)) for turn in turns)


def blend(points: Sequence[tuple[float, float]], at: tuple[float, float]) -> tuple[float, ...]:
    """Weights (sum 1) of points as seen from `at`, each by the inverse square of its distance, as on the page."""
    squares = [(x - at[0]) ** 2 + (y - at[1]) ** 2 for x, y in points]
    on = next((number for number, square in enumerate(squares) if square < ON), None)
    raw = [1 / square if on is None else float(number == on) for number, square in enumerate(squares)]
    total = sum(raw)
    return tuple(0.0 if one / total < FAINT else round(one / total, 2) for one in raw)
