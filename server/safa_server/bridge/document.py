"""What a project holds of a session, "safa-plugin-1": the scene, the prompt slots, and the parameters it was made with.

A scene may have been steered by others (the page, OSC), so it is more than the parameters say. When it is opened again
it is as it was; only parameters that have other values by then change it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from safa_server.bridge.parameters import BLENDING, LAYERS, LOWEST_GAIN, USUAL, Values, differs
from safa_server.bridge.slots import FIRST, read_slots, weighted
from safa_stream.errors import SafaError, UsageError
from safa_stream.scene import WeightedPrompt, parse_prompts
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.strips import SILENT, Strip

FORMAT = "safa-plugin-1"

Prompts = tuple[WeightedPrompt, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """prompts: what the host's state `prompts` said, which is in the slots already."""

    scene: LiveScene
    slots: tuple[str, ...]
    values: Values
    prompts: str = ""

    @classmethod
    def new(cls, scene: LiveScene | None = None) -> Document:
        """What an instance begins with: a scene that was given, or the first slot alone."""
        if scene is None:
            return cls(LiveScene((LayerScene(0, weighted(FIRST, USUAL)),)), FIRST, USUAL)
        return cls(scene, slots_of(scene), USUAL)

    def as_json(self) -> str:
        """ASCII, for hosts keep it as they like."""
        return json.dumps(
            {
                "format": FORMAT,
                "scene": self.scene.as_dict(),
                "slots": list(self.slots),
                "parameters": dict(self.values),
                "prompts": self.prompts,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Document:
        """Raises UsageError saying what is wrong with it."""
        try:
            found = json.loads(text)
            if found["format"] != FORMAT:
                raise UsageError(f"the project's scene must have format {FORMAT!r}, not {found['format']!r}")
            values = {**USUAL, **{name: float(value) for name, value in found["parameters"].items() if name in USUAL}}
            slots = tuple(str(slot) for slot in found["slots"])
            return cls(LiveScene.from_value(found["scene"]), slots, values, str(found["prompts"]))
        except SafaError as error:
            raise UsageError(f"the project's scene cannot be: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"the project's scene cannot be read: {error!r}") from None

    def under(self, values: Values, prompts: str, slots: tuple[str, ...] | None = None) -> Document:
        """With the host's present parameters and prompts; slots: those of the prompts file, which go first."""
        chosen = slots or (read_slots(prompts) if prompts and prompts != self.prompts else self.slots)
        differ = {name for name, value in values.items() if differs(value, self.values[name])}
        scene = self.scene
        if (chosen != self.slots or differ & set(BLENDING)) and (made := weighted(chosen, values)):
            scene = with_layer(scene, replace(scene.layers[0], prompts=made))
        if "gain" in differ:
            scene = replace(scene, master=replace(scene.master, gain=decibels(values["gain"])))
        if "guidance" in differ:
            scene = replace(scene, guidance=values["guidance"] or None)
        if "seed" in differ:
            scene = with_layer(scene, replace(scene.layers[0], seed=round(values["seed"])))
        for layer in scene.layers:
            if layer.layer < LAYERS and f"layer_{layer.layer + 1}" in differ:
                gain = decibels(values[f"layer_{layer.layer + 1}"])
                scene = with_layer(scene, replace(layer, strip=replace(layer.strip, gain=gain)))
        return Document(scene, chosen, dict(values), prompts)

    def heard(self, state: Mapping[str, Any]) -> Document:
        """With the scene that the session's state says it has come to, whoever steered it."""
        layers = tuple(
            LayerScene(
                one["layer"],
                parse_prompts(one["prompts"]),
                parse_prompts(one["negative"]) if one["negative"] else (),
                one["seed"],
                _strip(one),
            )
            for one in state["layers"]
            if not one["ending"]
        )
        if not layers:
            return self
        settings = {name: state[name] for name in ("steps", "guidance", "reference_ratio")}
        return replace(self, scene=replace(self.scene, layers=layers, master=_strip(state["master"]), **settings))


def with_layer(scene: LiveScene, layer: LayerScene) -> LiveScene:
    """The scene with another layer of that number."""
    return replace(scene, layers=tuple(layer if one.layer == layer.layer else one for one in scene.layers))


def decibels(gain: float) -> float:
    """A gain parameter as the session's, whose silence is lower."""
    return SILENT if gain <= LOWEST_GAIN else gain


def slots_of(scene: LiveScene) -> tuple[str, ...]:
    """The first layer's texts, as many as there are slots."""
    return tuple(prompt.text for prompt in scene.layers[0].prompts[: len(FIRST)])


def same(one: Prompts, other: Prompts) -> bool:
    """Whether prompts mean the same, in whatever order."""
    return {(p.text.lower(), round(p.weight, 3)) for p in one} == {(p.text.lower(), round(p.weight, 3)) for p in other}


def _strip(values: Mapping[str, Any]) -> Strip:
    return Strip(**{field.name: values[field.name] for field in fields(Strip)})
