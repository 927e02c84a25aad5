"""Layers that come and go, their places in the mix, and how their views are made."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from safa_stream import decode, engine
from safa_stream.continuation import StreamState
from safa_stream.errors import UsageError
from safa_stream.scene import Scene, WeightedPrompt
from safa_stream.session import messages as m
from safa_stream.session import mixing
from safa_stream.session.layer import Layer, Settings
from safa_stream.session.levels import begin_level
from safa_stream.session.livescene import LayerScene, check_layer
from safa_stream.session.sound import Sound
from safa_stream.session.state import State
from safa_stream.session.strips import Strip
from safa_stream.session.tempo import check_hops
from safa_stream.session.timeline import Timeline, Turn
from safa_stream.swap import GOLDEN


def add(state: State, scene: LayerScene, ramp: int) -> None:
    """Begin a layer. ramp: samples over which it fades in once it is there.

    Its place in the mixer is the caller's to make.
    """
    model, facts = state.model, state.model.facts
    own = state.settings
    settings = replace(
        state.scene.settings(scene), steps=own.steps, guidance=own.guidance, reference_ratio=own.reference_ratio or 0.0
    )
    told = model.encode(scene.prompts, scene.negative, scene.seed)
    plan = engine.stream_plan(model, settings)
    phase = scene.layer * GOLDEN % 1.0
    sound = Sound(
        0,
        0,
        np.zeros((state.channels, 0), np.float32),
        StreamState(),
        decode.start(state.decoder, scene.seed, facts.latent_channels, facts.latent_bins),
        begin_level(state.leveller),
    )
    first = Turn(0.0, 0.0, scene.prompts, scene.negative, scene.seed, told)
    state.layers[scene.layer] = Layer(scene.layer, plan, Timeline((first,)), sound, phase, ramp=ramp)


def add_asked(state: State, command: m.AddLayer) -> int:
    """Begin the layer that a command asks for and give it its place in the mixer; its number.

    Raises UsageError where its number is taken, none is free, or a value is out of range.
    """
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
    add(state, LayerScene(number, command.prompts, command.negative, command.seed or 0, strip), ramp)
    state.mix = mixing.add(state.mix, number, strip)
    return number


def remove(state: State, layer: Layer, ramp: int) -> None:
    """Fade a layer out; it ends when the fade is over."""
    state.mix = mixing.fade_out(state.mix, layer.number, ramp)
    layer.ends_at = state.position + ramp


def mix(state: State, command: m.Mix) -> None:
    """Move a layer's or the master's strip to the values given. Raises UsageError for those the master lacks."""
    given = {f.name: getattr(command, f.name) for f in fields(Strip) if getattr(command, f.name) is not None}
    if command.layer is None:
        wrong = sorted({"pan", "mute", "solo", "duck", "duck_by"} & set(given) - {"mute"})
        if wrong:
            raise UsageError(f"field {wrong[0]!r} belongs to a layer: say which with 'layer'")
    else:
        state.layer(command.layer)
    if "duck_by" in given:
        check_layer(given["duck_by"])
    strip = replace(state.strip(command.layer), **given)
    state.mix = mixing.set_strip(state.mix, command.layer, strip, state.samples(command.ramp))


def configure(state: State, command: m.Configure) -> None:
    """Say how views are made from the next one on: those of one layer, or those of all.

    Raises UsageError for values out of range, and the solver's errors for steps that the model cannot take.
    """
    layer = None if command.layer is None else state.layer(command.layer)
    # A scene has the rules for these values.
    ratio = 0.0 if command.reference_ratio is None else command.reference_ratio
    Scene((WeightedPrompt("rain"),), steps=command.steps, guidance=command.guidance, reference_ratio=ratio)
    if command.steps is not None:
        state.model.solver(command.steps)
    if command.hops is not None:
        check_hops(command.hops)
    asked = Settings(command.steps, command.guidance, command.reference_ratio, command.hops)
    if layer is not None:
        layer.own = asked.over(layer.own)
        return
    for other in state.layers.values():
        other.own = Settings()
    state.settings = asked.over(state.settings)
