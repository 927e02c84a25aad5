"""What layers are told, and from when on: turns, other seeds, and scenes that stand still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.layout import ViewLayout
from safa_stream.scene import Scene
from safa_stream.session import messages as m
from safa_stream.session.guard import Guard
from safa_stream.session.layer import NEAR, Layer
from safa_stream.session.state import LARGEST_QUEUE, State, Waiting
from safa_stream.session.timeline import Goal, Timeline, Turn
from safa_stream.session.work import Aim
from safa_stream.types import DoubleArray

#: A view is told of its middle as a whole where no prompt's weight changes by more than this in it.
STEADY = 0.25


def turn(state: State, command: m.Prompt | m.Reseed, number: int) -> tuple[int, tuple[str, ...]]:
    """Turn a layer as command `number` says; the first sample that can change, and words that meant nothing."""
    layer = state.layer(command.layer)
    last = layer.timeline.last
    goal = goal_of(command, last.goal)
    made = turn_to(state, 0.0, command.morph if isinstance(command, m.Prompt) else 0.0, goal)
    if not is_heard(command, goal, last.goal):
        return state.position, made.told.unknown_words
    now = command.now or is_timed(command)
    frame = turn_frame(state, layer, now, number)
    layer.timeline = layer.timeline.turned(replace(made, at=frame))
    layer.guard = Guard()
    return _effective(state, layer, frame, now), made.told.unknown_words


def goal_of(command: m.Prompt | m.Reseed, last: Goal) -> Goal:
    """What a layer that was told `last` is told from a command on."""
    if isinstance(command, m.Reseed):
        return replace(last, seed=command.seed)
    return Goal(command.prompts, last.negative if command.negative is None else command.negative, last.seed)


def turn_to(state: State, frame: float, morph: float, goal: Goal) -> Turn:
    """The turn from a frame on, over `morph` seconds. Raises UsageError where it cannot be."""
    Scene(goal.prompts, goal.negative, goal.seed)
    frames = state.samples(morph, "morph") / state.model.facts.samples_per_frame
    told = state.model.encode(goal.prompts, goal.negative, goal.seed)
    return Turn(frame, frames, goal.prompts, goal.negative, goal.seed, told)


def is_heard(command: m.Command, goal: Goal, last: Goal) -> bool:
    """Whether anything is to be made for a command: not for one that is for a time of its own and changes nothing."""
    return goal != last or not is_timed(command) or bool(getattr(command, "now", False))


def is_timed(command: m.Command) -> bool:
    """Whether a command is for a time of its own rather than for as soon as may be."""
    return command.at is not None or command.quantise is not None


def hold_back(state: State, command: m.Prompt, number: int) -> None:
    """Keep a change until the scene stands still no more. Raises UsageError where too many wait."""
    state.layer(command.layer)
    if len(state.held_back) >= LARGEST_QUEUE:
        raise UsageError(f"the scene is frozen and {LARGEST_QUEUE} changes wait already")
    state.held_back.append(Waiting(state.position, number, command))


def freeze(state: State, on: bool) -> None:
    """Hold what every layer is told as it is at its next view, or let go and carry out what was held back."""
    state.frozen = on
    for layer in state.layers.values():
        frame = layer.next_frame() + layer.hop / 2
        layer.timeline = layer.timeline.held(frame) if on else layer.timeline.released(frame)
    if not on:
        waiting, state.held_back = state.held_back, []
        for held in waiting:
            assert isinstance(held.command, m.Prompt)
            if held.command.layer in state.layers:
                turn(state, replace(held.command, at=None, quantise=None), held.number)


def turn_frame(state: State, layer: Layer, now: bool, number: int) -> float:
    """The frame from which a change holds: of the next view that is not begun, or with `now` of what is heard.

    If the sound was told of command `number` before its time, it is the frame from which on it was, if that is here.
    """
    foretold, here = layer.recalled(number), (state.position - layer.sound.origin) / state.model.facts.samples_per_frame
    if foretold is not None and abs(foretold - here) <= NEAR + 0.5:
        return foretold
    going_back = layer.aim is Aim.BACK or (layer.work is not None and layer.work.aim is Aim.BACK)
    if layer.heard_from is not None and now and not going_back:
        # A cut that is under way is let finish, or commands that come faster than views would never be heard.
        if layer.work is not None and layer.work.aim is not Aim.CUT:
            layer.work = None
        layer.aim, layer.cut_at = Aim.CUT, None
        return float(layer.frame_at(layer.playhead(state.position), state.model.facts.samples_per_frame))
    return float(layer.next_frame() if layer.work is None else layer.work.end)


def _effective(state: State, layer: Layer, frame: float, now: bool) -> int:
    if now or layer.heard_from is None:
        return state.position
    return max(state.position, layer.sound.origin + round(frame * state.model.facts.samples_per_frame))


def told(
    timeline: Timeline, heard: Sequence[tuple[Turn, float]], frame: int, layout: ViewLayout
) -> tuple[tuple[Turn, float], ...] | tuple[tuple[Turn, DoubleArray], ...]:
    """What a view that begins at a frame is told: what is heard in its middle, or, while one prompt goes over into
    another fast, both frame by frame.

    The latter takes a row of the denoiser's batch for each, so a crowd of changes within one view is told as a whole.
    """
    course = timeline.course(np.arange(layout.view, dtype=np.float64) + frame + 0.5)
    moved = max(float(np.ptp(weights[: layout.hop])) for _, weights in course)
    if len(course) != 2 or moved <= STEADY:
        return tuple(heard)
    return tuple(course)
