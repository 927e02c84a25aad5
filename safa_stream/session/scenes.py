"""Scenes that are kept and recalled: the present one as a value, and the way from it to another."""

from __future__ import annotations

from dataclasses import asdict, replace

from safa_stream.errors import UsageError
from safa_stream.session import messages as m
from safa_stream.session import mixing, roster, turns
from safa_stream.session.guard import Guard
from safa_stream.session.layer import Settings
from safa_stream.session.livescene import LayerScene, LiveScene
from safa_stream.session.state import LARGEST_SCENES, State
from safa_stream.session.timeline import Goal


def scene_of(state: State) -> LiveScene:
    """The present scene: where every layer's prompts go, and the strips."""
    layers = tuple(
        LayerScene(number, last.prompts, last.negative, last.seed, state.strip(number))
        for number, layer in sorted(state.layers.items())
        if layer.ends_at is None and layer.waits is None
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


def goals(state: State, command: m.RecallScene) -> dict[int, Goal]:
    """What each layer of a scene is told when it is recalled; nothing where it cannot be."""
    try:
        return {one.layer: Goal(one.prompts, one.negative, one.seed) for one in content(state, command).layers}
    except UsageError:
        return {}


def recall(state: State, command: m.RecallScene, number: int) -> tuple[str, ...]:
    """Move to a scene: prompts morph, strips ramp, layers that it lacks fade out, new ones fade in."""
    ramp = state.samples(command.morph, "morph")
    scene = content(state, command)
    if scene.model != state.scene.model:
        raise UsageError(f"the scene is of model {scene.model!r}, this session's is {state.scene.model!r}")
    aims = {number: turns.turn_to(state, 0.0, command.morph, goal) for number, goal in goals(state, command).items()}
    for layer_scene in scene.layers:
        layer = state.layers.get(layer_scene.layer)
        if layer is None:
            roster.add(state, layer_scene, ramp)
            state.mix = mixing.add(state.mix, layer_scene.layer, layer_scene.strip)
            continue
        if layer.waits == number:
            state.mix = mixing.set_strip(state.mix, layer.number, layer_scene.strip, 0)
            continue
        aim = aims[layer.number]
        if turns.is_heard(command, aim.goal, layer.timeline.last.goal):
            frame = turns.turn_frame(state, layer, turns.is_timed(command), number)
            layer.timeline, layer.guard = layer.timeline.turned(replace(aim, at=frame)), Guard()
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
    return tuple(dict.fromkeys(word for aim in aims.values() for word in aim.told.unknown_words))


def content(state: State, command: m.RecallScene) -> LiveScene:
    """The scene that a command recalls. Raises UsageError where none of that name is kept, or what is given is none."""
    scene = command.scene
    if isinstance(scene, str):
        if scene not in state.scenes:
            kept = ", ".join(sorted(state.scenes)) or "none"
            raise UsageError(f"field 'scene': no scene {scene!r} is kept; there are {kept}")
        scene = state.scenes[scene]
    return LiveScene.from_value(scene)
