"""Commands carried out: each changes the state or raises UsageError and has changed nothing."""

from __future__ import annotations

import secrets
from dataclasses import fields, replace
from typing import Any

import numpy as np

from safa_stream import decode, engine
from safa_stream.continuation import StreamState
from safa_stream.errors import UsageError
from safa_stream.scene import Scene, WeightedPrompt
from safa_stream.session import messages as m
from safa_stream.session import mixing
from safa_stream.session.guard import Guard
from safa_stream.session.layer import Aim, Layer, Settings
from safa_stream.session.levels import begin_level
from safa_stream.session.livescene import LayerScene, LiveScene, check_layer
from safa_stream.session.loops import Capture, Part
from safa_stream.session.mixing import Strip
from safa_stream.session.sound import Sound, back
from safa_stream.session.state import BACK_SECONDS, LARGEST_QUEUE, LARGEST_SCENES, State, Waiting
from safa_stream.session.timeline import Timeline, Turn
from safa_stream.swap import GOLDEN

#: Loops from the shortest that a closing view leaves anything of, to the longest whose states are kept.
SHORTEST_LOOP, LONGEST_LOOP = 8.0, 110.0
LARGEST_SEED = 2**63 - 1


def carry_out(state: State, command: m.Command, number: int) -> list[m.Event]:
    """Do what a command says, now; what it led to. Raises UsageError or one of its kinds."""
    start, unknown, more = state.position, tuple[str, ...](), list[m.Event]()
    match command:
        case m.Prompt():
            if state.frozen:
                _hold_back(state, command, number)
            else:
                start, unknown = turn(state, command)
        case m.AddLayer():
            unknown = _add_asked(state, command)
        case m.RemoveLayer():
            remove(state, state.layer(command.layer), state.samples(command.ramp))
        case m.Mix():
            _mix(state, command)
        case m.Configure():
            _configure(state, command)
        case m.Reseed():
            start = _reseed(state, command)
        case m.Reanchor():
            state.layer(command.layer).firm = True
            more.append(
                m.Reanchored(position=start, layer=command.layer, measure="asked", value=0.0, low=0.0, high=0.0)
            )
        case m.Freeze():
            _freeze(state, command.on)
        case m.Rewind():
            _rewind(state, command.to)
        case m.CaptureLoop():
            _capture(state, command, number)
        case m.SaveScene():
            more.append(_save(state, command.scene))
        case m.RecallScene():
            unknown = _recall(state, command)
        case _:
            raise UsageError(f"a session cannot carry out {type(command).__name__}")
    return [m.Applied(position=state.position, command=number, start=start, unknown_words=unknown), *more]


def resolved(command: m.Command) -> m.Command:
    """The command with what is left to chance decided, so that it can be carried out again alike."""
    if isinstance(command, m.AddLayer) and command.seed is None:
        return replace(command, seed=secrets.randbelow(2**31))
    return command


def add(state: State, scene: LayerScene, ramp: int) -> tuple[str, ...]:
    """Begin a layer; returns the words that meant nothing. ramp: samples over which it fades in once it is there.

    Its place in the mixer is the caller's to make.
    """
    model, facts = state.model, state.model.facts
    settings = replace(
        state.scene.settings(scene),
        steps=state.steps,
        guidance=state.guidance,
        reference_ratio=state.reference_ratio,
    )
    told = model.encode(scene.prompts, scene.negative, scene.seed)
    plan = engine.stream_plan(model, settings)
    phase = scene.layer * GOLDEN % 1.0
    sound = Sound(
        0,
        0,
        np.zeros((facts.channels, 0), np.float32),
        StreamState(),
        decode.start(state.decoder, scene.seed, facts.latent_channels, facts.latent_bins),
        begin_level(state.leveller),
    )
    first = Turn(0.0, 0.0, scene.prompts, scene.negative, scene.seed, told)
    state.layers[scene.layer] = Layer(scene.layer, plan, Timeline((first,)), sound, phase, ramp=ramp)
    state.strips[scene.layer] = scene.strip
    return told.unknown_words


def remove(state: State, layer: Layer, ramp: int) -> None:
    """Fade a layer out; it ends when the fade is over."""
    state.mix = mixing.fade_out(state.mix, layer.number, ramp)
    layer.ends_at = state.position + ramp


def set_strip(state: State, number: int | None, strip: Strip, ramp: int) -> None:
    """Give a layer or the master (None) another strip."""
    state.mix = mixing.set_strip(state.mix, number, strip, ramp)
    if number is None:
        state.master = strip
    else:
        state.strips[number] = strip


def turn(state: State, command: m.Prompt) -> tuple[int, tuple[str, ...]]:
    """Turn a layer towards other prompts; the first sample that can change, and words that meant nothing."""
    layer = state.layer(command.layer)
    last = layer.timeline.last
    negative = last.negative if command.negative is None else command.negative
    morph = state.samples(command.morph, "morph")
    told = state.model.encode(command.prompts, negative, last.seed)
    frame = _turn_frame(state, layer, command.now)
    layer.timeline = layer.timeline.turned(
        Turn(frame, morph / state.model.facts.samples_per_frame, command.prompts, negative, last.seed, told)
    )
    layer.guard = Guard()
    return _effective(state, layer, frame, command.now), told.unknown_words


def scene_of(state: State) -> LiveScene:
    """The present scene: where every layer's prompts go, and the strips."""
    layers = tuple(
        LayerScene(number, last.prompts, last.negative, last.seed, state.strips[number])
        for number, layer in sorted(state.layers.items())
        if layer.ends_at is None
        for last in (layer.timeline.last,)
    )
    if not layers:
        raise UsageError("the session has no layer that stays")
    return replace(
        state.scene,
        layers=layers,
        master=state.master,
        steps=state.steps,
        guidance=state.guidance,
        reference_ratio=state.reference_ratio,
    )


def _turn_frame(state: State, layer: Layer, now: bool) -> float:
    """The frame from which a change holds: of the next view that is not begun, or with `now` of what is heard."""
    going_back = layer.aim is Aim.BACK or (layer.work is not None and layer.work.aim is Aim.BACK)
    if layer.heard_from is not None and now and not going_back:
        # A cut that is under way is let finish, or commands that come faster than views would never be heard.
        if layer.work is not None and layer.work.aim is not Aim.CUT:
            layer.work = None
        layer.aim = Aim.CUT
        return float(layer.frame_at(state.position, state.model.facts.samples_per_frame))
    begun = layer.work is not None
    return float(layer.next_frame() + (layer.hop if begun else 0))


def _effective(state: State, layer: Layer, frame: float, now: bool) -> int:
    if now or layer.heard_from is None:
        return state.position
    return max(state.position, layer.sound.origin + round(frame * state.model.facts.samples_per_frame))


def _add_asked(state: State, command: m.AddLayer) -> tuple[str, ...]:
    number = command.layer
    if number is None:
        free = [n for n in range(m.LARGEST_LAYERS) if n not in state.layers]
        if not free:
            raise UsageError(f"a session has at most {m.LARGEST_LAYERS} layers")
        number = free[0]
    check_layer(number)
    if number in state.layers:
        raise UsageError(f"field 'layer': there is a layer {number} already; remove it or take another number")
    strip = Strip(gain=command.gain, pan=command.pan)
    ramp = state.samples(command.ramp)
    unknown = add(state, LayerScene(number, command.prompts, command.negative, command.seed or 0, strip), ramp)
    state.mix = mixing.add(state.mix, number, strip)
    return unknown


def _mix(state: State, command: m.Mix) -> None:
    given = {f.name: getattr(command, f.name) for f in fields(Strip) if getattr(command, f.name) is not None}
    if command.layer is None:
        wrong = sorted({"pan", "mute", "solo", "duck", "duck_by"} & set(given) - {"mute"})
        if wrong:
            raise UsageError(f"field {wrong[0]!r} belongs to a layer: say which with 'layer'")
        before = state.master
    else:
        state.layer(command.layer)
        before = state.strips[command.layer]
    if "duck_by" in given:
        check_layer(given["duck_by"])
    set_strip(state, command.layer, replace(before, **given), state.samples(command.ramp))


def _configure(state: State, command: m.Configure) -> None:
    layer = None if command.layer is None else state.layer(command.layer)
    # A scene has the rules for these values.
    ratio = 0.0 if command.reference_ratio is None else command.reference_ratio
    Scene((WeightedPrompt("rain"),), steps=command.steps, guidance=command.guidance, reference_ratio=ratio)
    if command.steps is not None:
        state.model.solver(command.steps)
    asked = Settings(command.steps, command.guidance, command.reference_ratio)
    if layer is not None:
        layer.own = asked.over(layer.own)
        return
    for other in state.layers.values():
        other.own = Settings()
    if command.steps is not None:
        state.steps = command.steps
    if command.guidance is not None:
        state.guidance = command.guidance
    if command.reference_ratio is not None:
        state.reference_ratio = command.reference_ratio


def _reseed(state: State, command: m.Reseed) -> int:
    layer = state.layer(command.layer)
    last = layer.timeline.last
    Scene(last.prompts, seed=command.seed)
    told = state.model.encode(last.prompts, last.negative, command.seed)
    frame = _turn_frame(state, layer, command.now)
    layer.timeline = layer.timeline.turned(Turn(frame, 0.0, last.prompts, last.negative, command.seed, told))
    layer.guard = Guard()
    return _effective(state, layer, frame, command.now)


def _hold_back(state: State, command: m.Prompt, number: int) -> None:
    state.layer(command.layer)
    if len(state.held_back) >= LARGEST_QUEUE:
        raise UsageError(f"the scene is frozen and {LARGEST_QUEUE} changes wait already")
    state.held_back.append(Waiting(state.position, number, command))


def _freeze(state: State, on: bool) -> None:
    state.frozen = on
    for layer in state.layers.values():
        frame = layer.next_frame() + layer.hop / 2
        layer.timeline = layer.timeline.held(frame) if on else layer.timeline.released(frame)
    if not on:
        waiting, state.held_back = state.held_back, []
        for held in waiting:
            assert isinstance(held.command, m.Prompt)
            if held.command.layer in state.layers:
                turn(state, held.command)


def _rewind(state: State, to: int) -> None:
    oldest = state.position - round((BACK_SECONDS - 10) * state.rate)
    if not isinstance(to, int) or isinstance(to, bool) or not max(0, oldest) <= to <= state.position:
        raise UsageError(f"field 'to' must be a sample from {max(0, oldest)} to {state.position}, not {to!r}")
    heard = [layer for layer in state.layers.values() if layer.heard_from is not None]
    samples = {layer.number: max(to, layer.heard_from or 0) - layer.sound.origin for layer in heard}
    for layer in heard:
        if back(layer.sound, samples[layer.number] // state.model.facts.samples_per_frame) is None:
            raise UsageError(f"field 'to': what layer {layer.number} played at sample {to} is not kept any more")
    for layer in heard:
        layer.work, layer.pending, layer.aim = None, None, Aim.BACK
        layer.back_sample = samples[layer.number]


def _capture(state: State, command: m.CaptureLoop, number: int) -> None:
    if not isinstance(command.seconds, int | float) or not SHORTEST_LOOP <= command.seconds <= LONGEST_LOOP:
        raise UsageError(f"field 'seconds' must be from {SHORTEST_LOOP:g} to {LONGEST_LOOP:g}, not {command.seconds!r}")
    heard = [layer.heard_from for layer in state.layers.values() if layer.heard_from is not None]
    if not heard or (state.position - min(heard)) < command.seconds * state.rate:
        raise UsageError(f"field 'seconds': less than {command.seconds:g} s were heard so far")
    if len(state.captures) >= 4:
        raise UsageError("four loops are being made already; wait for one")
    state.captures.append(Waiting(state.position, number, command))


def capture_of(state: State, waiting: Waiting) -> Capture:
    """All that making a loop needs, as it is now."""
    assert isinstance(waiting.command, m.CaptureLoop)
    facts = state.model.facts
    parts = []
    for number, layer in sorted(state.layers.items()):
        heard = layer.timeline.weights(layer.next_frame())
        told = tuple((turn.told, weight) for turn, weight in heard)
        if layer.heard_from is not None:
            parts.append((number, Part(layer.sound, layer.plan, told, state.strips[number], layer.plan.seed)))
    guidance = facts.default_guidance if state.guidance is None else state.guidance
    return Capture(
        waiting.number, waiting.command.seconds, state.model, state.decoder, tuple(parts), state.master, guidance
    )


def _save(state: State, name: str) -> m.SceneSaved:
    if not isinstance(name, str) or not 0 < len(name.strip()) <= m.LONGEST_NAME or not name.isprintable():
        raise UsageError(f"field 'scene' must be a name of 1 to {m.LONGEST_NAME} characters")
    if name not in state.scenes and len(state.scenes) >= LARGEST_SCENES:
        raise UsageError(f"{LARGEST_SCENES} scenes are kept already")
    content = scene_of(state).as_dict()
    state.scenes[name] = content
    return m.SceneSaved(position=state.position, scene=name, content=content)


def _recall(state: State, command: m.RecallScene) -> tuple[str, ...]:
    """Move to a scene: prompts morph, strips ramp, layers that it lacks fade out, new ones fade in."""
    ramp = state.samples(command.morph, "morph")
    scene = LiveScene.from_value(_content(state, command.scene))
    if scene.model != state.scene.model:
        raise UsageError(f"the scene is of model {scene.model!r}, this session's is {state.scene.model!r}")
    told = {one.layer: state.model.encode(one.prompts, one.negative, one.seed) for one in scene.layers}
    for layer_scene in scene.layers:
        layer = state.layers.get(layer_scene.layer)
        if layer is None:
            add(state, layer_scene, ramp)
            state.mix = mixing.add(state.mix, layer_scene.layer, layer_scene.strip)
            continue
        frame = _turn_frame(state, layer, now=False)
        morph = ramp / state.model.facts.samples_per_frame
        new = Turn(frame, morph, layer_scene.prompts, layer_scene.negative, layer_scene.seed, told[layer.number])
        layer.timeline, layer.guard = layer.timeline.turned(new), Guard()
        if layer.ends_at is not None:
            layer.ends_at = None
            state.mix = mixing.fade_in(state.mix, layer.number, ramp)
        set_strip(state, layer.number, layer_scene.strip, ramp)
    wanted = {layer_scene.layer for layer_scene in scene.layers}
    for number, layer in state.layers.items():
        if number not in wanted and layer.ends_at is None:
            remove(state, layer, ramp)
    set_strip(state, None, scene.master, ramp)
    state.steps, state.guidance, state.reference_ratio = scene.steps, scene.guidance, scene.reference_ratio
    return tuple(dict.fromkeys(word for encoded in told.values() for word in encoded.unknown_words))


def _content(state: State, scene: str | dict[str, Any]) -> Any:
    if not isinstance(scene, str):
        return scene
    if scene not in state.scenes:
        kept = ", ".join(sorted(state.scenes)) or "none"
        raise UsageError(f"field 'scene': no scene {scene!r} is kept; there are {kept}")
    return state.scenes[scene]
