"""Layers that begin at a time: made before it and run in silence, so that they can be heard on just its sample.

A layer of which nothing is made when its time has come is heard as soon as its first view is, as without a time.
"""

from __future__ import annotations

from dataclasses import replace

from safa_stream.errors import SafaError, UsageError
from safa_stream.session import messages as m
from safa_stream.session import mixing, roster, scenes
from safa_stream.session.layer import FADE_SECONDS, Layer
from safa_stream.session.state import State

#: Layers are made so long before their time: what a busy machine may need for a view, and no engine time for more.
AHEAD_SECONDS = 15.0


def prepare(state: State) -> None:
    """Begin to make the layers of what waits for a time that is near."""
    near = state.position + round(AHEAD_SECONDS * state.rate)
    for waiting in state.waiting:
        if waiting.at > near:
            return
        if waiting.number in state.prepared:
            continue
        try:
            match waiting.command:
                case m.AddLayer():
                    numbers = [roster.add_asked(state, waiting.command)]
                case m.RecallScene():
                    numbers = _add_lacking(state, waiting.command)
                case _:
                    continue
        except SafaError:
            continue  # it may be possible when its time has come; if not, that is told then
        state.prepared.append(waiting.number)
        for number in numbers:
            state.layers[number].waits = waiting.number


def add(state: State, command: m.AddLayer, number: int) -> tuple[str, ...]:
    """Carry out command `number`; the words that meant nothing. Raises UsageError where it cannot be."""
    layer = next((layer for layer in state.layers.values() if layer.waits == number), None)
    if layer is not None:
        begin(state, layer, state.samples(command.ramp))
    elif number in state.prepared:
        raise UsageError("the layer was removed before it began")
    else:
        layer = state.layers[roster.add_asked(state, command)]
    return layer.timeline.turns[0].told.unknown_words


def begin(state: State, layer: Layer, ramp: int) -> None:
    """Let a layer that waited be heard from now on, or from its first sound on."""
    layer.waits, layer.ramp = None, ramp
    if layer.heard_from is not None:
        state.mix = mixing.fade_in(state.mix, layer.number, max(ramp, round(FADE_SECONDS * state.rate)))


def _add_lacking(state: State, command: m.RecallScene) -> list[int]:
    """Add the layers that a scene has and the session lacks; what they do to others in the mix is for later."""
    numbers = []
    for one in scenes.content(state, command).layers:
        if one.layer not in state.layers:
            roster.add(state, one, state.samples(command.morph, "morph"))
            state.mix = mixing.add(state.mix, one.layer, replace(one.strip, solo=False))
            numbers.append(one.layer)
    return numbers
