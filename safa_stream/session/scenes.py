"""Scenes that are kept and recalled: the present one as a value, and the way from it to another."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from safa_stream.errors import UsageError
from safa_stream.session import messages as m
from safa_stream.session import mixing, roster, turns
from safa_stream.session.guard import Guard
from safa_stream.session.layer import Settings
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.state import LARGEST_SCENES, State
from safa_stream.session.timeline import Turn


def scene_of(state: State) -> LiveScene:
    """The present scene: where every layer's prompts go, and the strips."""
    layers = tuple(
        LayerScene(number, last.prompts, last.negative, last.seed, state.strip(number))
        for number, layer in sorted(state.layers.items())
        if layer.ends_at is None
        for last in (layer.timeline.last,)
    )
    if not layers:
        raise UsageError("the session has no layer that stays")
    grid = state.grid
    return replace(
        state.scene,
        layers=layers,
        master=state.strip(None),
        bpm=grid.bpm,
        beats_per_bar=grid.beats_per_bar,
        **asdict(state.settings),
    )


def save(state: State, name: str) -> m.SceneSaved:
    """Keep the present scene under a name. Raises UsageError for a bad name, or where too many are kept."""
    if not isinstance(name, str) or not 0 < len(name.strip()) <= m.LONGEST_NAME or not name.isprintable():
        raise UsageError(f"field 'scene' must be a name of 1 to {m.LONGEST_NAME} characters")
    if name not in state.scenes and len(state.scenes) >= LARGEST_SCENES:
        raise UsageError(f"{LARGEST_SCENES} scenes are kept already")
    content = scene_of(state).as_dict()
    state.scenes[name] = content
    return m.SceneSaved(position=state.position, scene=name, content=content)


def layers_of(state: State, command: m.RecallScene) -> frozenset[int]:
    """Numbers of the layers that a recalled scene has; none where it cannot be recalled."""
    try:
        return frozenset(layer.layer for layer in LiveScene.from_value(_content(state, command.scene)).layers)
    except UsageError:
        return frozenset()


def turn_to(state: State, number: int, frame: float, command: m.RecallScene) -> Turn:
    """The turn that recalling a scene is for one of its layers. Raises UsageError where it cannot be recalled."""
    scene = LiveScene.from_value(_content(state, command.scene))
    one = next(layer for layer in scene.layers if layer.layer == number)
    morph = state.samples(command.morph, "morph") / state.model.facts.samples_per_frame
    told = state.model.encode(one.prompts, one.negative, one.seed)
    return Turn(frame, morph, one.prompts, one.negative, one.seed, told)


def recall(state: State, command: m.RecallScene, number: int) -> tuple[str, ...]:
    """Move to a scene: prompts morph, strips ramp, layers that it lacks fade out, new ones fade in."""
    ramp = state.samples(command.morph, "morph")
    scene = LiveScene.from_value(_content(state, command.scene))
    if scene.model != state.scene.model:
        raise UsageError(f"the scene is of model {scene.model!r}, this session's is {state.scene.model!r}")
    told = {one.layer: state.model.encode(one.prompts, one.negative, one.seed) for one in scene.layers}
    for layer_scene in scene.layers:
        layer = state.layers.get(layer_scene.layer)
        if layer is None:
            roster.add(state, layer_scene, ramp)
            state.mix = mixing.add(state.mix, layer_scene.layer, layer_scene.strip)
            continue
        frame = turns.turn_frame(state, layer, turns.is_timed(command), number)
        morph = ramp / state.model.facts.samples_per_frame
        new = Turn(frame, morph, layer_scene.prompts, layer_scene.negative, layer_scene.seed, told[layer.number])
        layer.timeline, layer.guard = layer.timeline.turned(new), Guard()
        if layer.ends_at is not None:
            layer.ends_at = None
            state.mix = mixing.fade_in(state.mix, layer.number, ramp)
        state.mix = mixing.set_strip(state.mix, layer.number, layer_scene.strip, ramp)
    wanted = {layer_scene.layer for layer_scene in scene.layers}
    for other, layer in state.layers.items():
        if other not in wanted and layer.ends_at is None:
            roster.remove(state, layer, ramp)
    state.mix = mixing.set_strip(state.mix, None, scene.master, ramp)
    state.settings = Settings(scene.steps, scene.guidance, scene.reference_ratio, scene.hops)
    return tuple(dict.fromkeys(word for encoded in told.values() for word in encoded.unknown_words))


def _content(state: State, scene: str | dict[str, Any]) -> Any:
    if not isinstance(scene, str):
        return scene
    if scene not in state.scenes:
        kept = ", ".join(sorted(state.scenes)) or "none"
        raise UsageError(f"field 'scene': no scene {scene!r} is kept; there are {kept}")
    return state.scenes[scene]
