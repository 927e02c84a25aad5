"""Scene: everything but the length that recreates a sound, its checks, and its JSON form "safa-scene-1".

A prompt line is parts joined by commas, each with an optional weight after a colon:
"rain on a tent, distant thunder:0.4".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from safa_stream.errors import PromptError, SceneError

FORMAT = "safa-scene-1"
#: How views may be joined, as they stream or side by side; and what else there is side by side: Merge-Attend-Diffuse
#: (arXiv 2408.15660) and SyncDiffusion (arXiv 2306.05178).
METHODS = ("safa", "safa-self", "average", "triangular", "independent")
MAD, SYNC = "mad", "syncdiffusion"
JOINT_ONLY = (MAD, SYNC)
JOINT_METHODS = (*METHODS, *JOINT_ONLY)
#: Of MAD, the share of the steps in which views attend to each other; of SyncDiffusion, how far views follow the middle
#: one at first, and in how many steps.
ATTEND_RATIO, SYNC_WEIGHT, SYNC_STEPS = 0.5, 20.0, 10
MODES = ("stream", "joint")
#: Half of a 64-bit key's range, so that every JSON reader's signed integers hold a seed.
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class WeightedPrompt:
    """One part of a prompt. `text` holds no ',' or ':' (they separate parts and weights); `weight` is above 0."""

    text: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise PromptError('a prompt is empty; say what is to be heard, such as "rain on a tent"')
        if "," in self.text or ":" in self.text:
            raise PromptError(
                f"prompt {self.text!r}: ',' and ':' separate prompts and weights, its text cannot hold them"
            )
        if not _is_number(self.weight) or not self.weight > 0:
            raise PromptError(f"prompt {self.text!r}: the weight must be a finite number above 0, not {self.weight!r}")


@dataclass(frozen=True, slots=True)
class PromptChange:
    """From `at` seconds on, move to `prompts` over `morph` seconds (0: at the next view)."""

    at: float
    prompts: tuple[WeightedPrompt, ...]
    morph: float = 0.0

    def __post_init__(self) -> None:
        _check_fields(self, _CHANGE_RULES)
        _check_prompts(self.prompts, "prompts")


@dataclass(frozen=True, slots=True)
class Scene:
    """What to make and how. None stands for the model's default. attend_ratio and sync_... : see ATTEND_RATIO.

    Raises SceneError or PromptError naming the field that is wrong.
    """

    prompts: tuple[WeightedPrompt, ...]
    negative: tuple[WeightedPrompt, ...] = ()
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    overlap: float | None = None
    swap_interval: int = 1
    reference_ratio: float = 0.3
    method: str = "safa"
    mode: str = "stream"
    loop: bool = False
    changes: tuple[PromptChange, ...] = ()
    model: str = "builtin"
    attend_ratio: float = ATTEND_RATIO
    sync_weight: float = SYNC_WEIGHT
    sync_steps: int = SYNC_STEPS

    def __post_init__(self) -> None:
        _check_prompts(self.prompts, "prompts")
        _check_prompts(self.negative, "negative", may_be_empty=True)
        _check_fields(self, _SCENE_RULES)
        if self.loop and self.mode != "joint":
            raise SceneError("scene field 'loop' needs mode 'joint': a stream has no end to join to its beginning")
        if self.method in JOINT_ONLY and self.mode != "joint":
            raise SceneError(f"scene field 'method' {self.method} needs mode 'joint': it is made of all views at once")
        if self.changes and self.mode != "stream":
            raise SceneError("scene field 'changes' needs mode 'stream': a joint canvas has one prompt")

    @classmethod
    def from_prompt(cls, text: str, **settings: Any) -> Scene:
        """The scene of a prompt line such as "rain on a tent, distant thunder:0.4"; `settings` are further fields."""
        return cls(parse_prompts(text), **settings)

    def to_json(self, indent: int | None = 2) -> str:
        """Text that `from_json` turns into an equal scene."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["prompts"] = _prompts_to_json(self.prompts)
        values["negative"] = _prompts_to_json(self.negative)
        values["changes"] = [
            {"at": change.at, "prompts": _prompts_to_json(change.prompts), "morph": change.morph}
            for change in self.changes
        ]
        return json.dumps({"format": FORMAT, **values}, indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """Read a scene; all fields but `format` and `prompts` may be left out.

        Raises SceneError or PromptError naming a field that is unknown, missing or wrong.
        """
        data = read_json(text, "the scene")
        known = ("format", *(field.name for field in fields(cls)))
        values = json_object(data, "the scene", known, required=("format", "prompts"))
        if values.pop("format") != FORMAT:
            raise SceneError(f"scene field 'format' must be {FORMAT!r}, not {data['format']!r}")
        for name in ("prompts", "negative"):
            if name in values:
                values[name] = prompts_from_json(values[name], name)
        if "changes" in values:
            values["changes"] = _changes_from_json(values["changes"])
        return cls(**values)


def parse_prompts(text: str) -> tuple[WeightedPrompt, ...]:
    """Split "rain on a tent, distant thunder:0.4" into weighted prompts; same words merge and their weights add.

    Raises PromptError where a part is empty or its weight is not a finite number above 0.
    """
    if not text.strip():
        raise PromptError('the prompt is empty; say what is to be heard, such as "rain on a tent, distant thunder:0.4"')
    merged: dict[str, WeightedPrompt] = {}
    for part in text.split(","):
        words, colon, number = part.rpartition(":") if ":" in part else (part, "", "")
        words = " ".join(words.split())
        if not words:
            raise PromptError(f'prompt {text!r} has an empty part; write it like "rain, wind:0.5"')
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            raise PromptError(
                f"prompt {words!r}: what follows ':' must be a weight above 0, not {number.strip()!r}"
            ) from None
        prompt = WeightedPrompt(words, weight)
        same = merged.get(words.casefold())
        merged[words.casefold()] = WeightedPrompt(same.text, same.weight + weight) if same else prompt
    return tuple(merged.values())


def format_prompts(prompts: Sequence[WeightedPrompt]) -> str:
    """The line that `parse_prompts` reads back; a weight of 1 is left out."""
    return ", ".join(prompt.text if prompt.weight == 1 else f"{prompt.text}:{prompt.weight!r}" for prompt in prompts)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _between(least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: _is_number(value) and least <= value <= most


def _whole_between(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: _is_whole(value) and least <= value <= most


def _or_none(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or rule(value)


def _are_changes(value: Any) -> bool:
    if not isinstance(value, tuple) or not all(isinstance(change, PromptChange) for change in value):
        return False
    return all(a.at < b.at for a, b in zip(value, value[1:], strict=False))


_Rules = Mapping[str, tuple[Callable[[Any], bool], str]]
_SCENE_RULES: _Rules = {
    "seed": (_whole_between(0, LARGEST_SEED), f"a whole number from 0 to {LARGEST_SEED}"),
    "steps": (_or_none(_whole_between(1, 1000)), "a whole number from 1 to 1000"),
    "guidance": (_or_none(_between(0, 100)), "a number from 0 to 100"),
    "overlap": (_or_none(_between(0, 0.99)), "a share of the view from 0 to 0.99"),
    "swap_interval": (_whole_between(1, 10_000), "a whole number of frames from 1 to 10000"),
    "reference_ratio": (_between(0, 1), "a share of the steps from 0 to 1"),
    "method": (lambda value: value in JOINT_METHODS, "one of " + ", ".join(JOINT_METHODS)),
    "mode": (lambda value: value in MODES, "one of " + ", ".join(MODES)),
    "loop": (lambda value: isinstance(value, bool), "true or false"),
    "changes": (_are_changes, "a list of prompt changes in order of time, each at its own time"),
    "model": (lambda value: isinstance(value, str) and bool(value.strip()), "a model's name or folder"),
    "attend_ratio": (_between(0, 1), "a share of the steps from 0 to 1"),
    "sync_weight": (_between(0, 1e6), "a number from 0 to 1000000"),
    "sync_steps": (_whole_between(0, 1000), "a whole number from 0 to 1000"),
}
_CHANGE_RULES: _Rules = {
    "at": (_between(0, 1e9), "a time in seconds, 0 or later"),
    "morph": (_between(0, 1e9), "a number of seconds, 0 or more"),
}


def _check_fields(value: Scene | PromptChange, rules: _Rules) -> None:
    for name, (holds, wanted) in rules.items():
        if not holds(getattr(value, name)):
            raise SceneError(f"scene field {name!r} must be {wanted}, not {getattr(value, name)!r}")


def _check_prompts(prompts: object, name: str, may_be_empty: bool = False) -> None:
    if not isinstance(prompts, tuple) or not all(isinstance(prompt, WeightedPrompt) for prompt in prompts):
        raise SceneError(f"scene field {name!r} must be a list of prompts, not {prompts!r}")
    if not prompts and not may_be_empty:
        raise PromptError(f'scene field {name!r} is empty; say what is to be heard, such as "rain on a tent"')


def _prompts_to_json(prompts: Sequence[WeightedPrompt]) -> list[dict[str, object]]:
    return [{"text": prompt.text, "weight": prompt.weight} for prompt in prompts]


def prompts_from_json(value: object, where: str) -> tuple[WeightedPrompt, ...]:
    """A list of {"text", "weight"} objects, or one prompt line as on the command line."""
    if isinstance(value, str):
        return parse_prompts(value)
    if not isinstance(value, list):
        raise SceneError(f"scene field {where!r} must be a prompt line or a list of prompts, not {value!r}")
    items = (json_object(item, f"{where}[{n}]", ("text", "weight"), ("text",)) for n, item in enumerate(value))
    return tuple(WeightedPrompt(**item) for item in items)


def _changes_from_json(value: object) -> tuple[PromptChange, ...]:
    if not isinstance(value, list):
        raise SceneError(f"scene field 'changes' must be a list, not {value!r}")
    changes = []
    for n, item in enumerate(value):
        values = json_object(item, f"changes[{n}]", ("at", "prompts", "morph"), ("at", "prompts"))
        values["prompts"] = prompts_from_json(values["prompts"], f"changes[{n}].prompts")
        try:
            changes.append(PromptChange(**values))
        except SceneError as error:
            raise SceneError(f"changes[{n}]: {error}") from None
    return tuple(changes)


def read_json(text: str, where: str) -> Any:
    """A JSON value, read strictly. Raises SceneError for what is none, for fields that stand twice, and for NaN."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise SceneError(f"field {name!r} stands twice in {where}")
            found[name] = value
        return found

    def no_constant(name: str) -> float:
        raise SceneError(f"{name} is not a number that {where.replace('the ', 'a ')} can hold")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{where} is not valid JSON: {error}") from None


def json_object(value: object, where: str, known: Sequence[str], required: Sequence[str]) -> dict[str, Any]:
    """A JSON object's items. Raises SceneError where it is none, or naming a field that is unknown or missing."""
    if not isinstance(value, dict):
        raise SceneError(f"{where} must be a JSON object, not {value!r}")
    for name in value:
        if name not in known:
            raise SceneError(f"unknown field {name!r} in {where}; known fields: {', '.join(known)}")
    for name in required:
        if name not in value:
            raise SceneError(f"field {name!r} is missing in {where}")
    return dict(value)
