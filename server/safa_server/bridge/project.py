"""What a project holds of its session: what the host set, and what has become of it since, whoever did that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from safa_server.bridge.document import Document, Prompts, same, slots_of
from safa_server.bridge.parameters import Values
from safa_server.bridge.slots import read_slots


@dataclass(slots=True)
class Project:
    """document: what the session is, as far as is known; prompts, scene: the host's states, as it set them last; ours:
    prompts that the session's first layer has of us, by which it is seen whether somebody else changed them."""

    document: Document
    prompts: str = ""
    scene: str = ""
    ours: Prompts = ()

    def take_over(self, told: str, states: Mapping[str, str]) -> None:
        """Go on with what another bridge made of the states that the host has set. Raises UsageError."""
        self.document = Document.from_json(told)
        self.scene, self.prompts = states.get("scene", ""), states.get("prompts", "")

    def recall(self, states: Mapping[str, str]) -> tuple[bool, tuple[str, ...] | None]:
        """What the host has set: whether that is another scene, which begins a session anew, else other slots if any.

        Raises UsageError for what cannot be; it is not heard of again.
        """
        scene, prompts = states.get("scene", ""), states.get("prompts", "")
        other_scene = bool(scene) and scene != self.scene
        other_prompts = bool(prompts) and prompts != self.prompts
        self.scene, self.prompts = scene, prompts
        if other_scene:
            self.document = Document.from_json(scene)
            return True, None
        return False, read_slots(prompts) if other_prompts else None

    def begin(self, values: Values, slots: tuple[str, ...] | None) -> Document:
        """What a new session is to be, under the host's parameters and the slots of the prompts file, if it has any.

        Raises UsageError where the host's prompts cannot be; then they are left out the next time.
        """
        prompts, self.prompts = self.prompts, self.document.prompts
        self.document = self.document.under(values, prompts, slots)
        self.prompts, self.ours = prompts, self.document.scene.layers[0].prompts
        return self.document

    def look(self, state: Mapping[str, Any], values: Values, slots: tuple[str, ...], settled: bool) -> Document:
        """What the session has become, by its state. settled: no prompts of ours are on their way."""
        held = replace(self.document, values=dict(values), prompts=self.prompts, slots=slots).heard(state)
        first = held.scene.layers[0].prompts
        if settled and not same(first, self.ours):
            # Somebody else changed the prompts: they are the slots' from now on.
            self.ours, held = first, replace(held, slots=slots_of(held.scene))
        self.document = held
        return held
