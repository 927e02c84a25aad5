"""Changes of what a layer is told whose time is known before it has come: views are made ahead, so they are told ahead.

    waiting        a prompt for sample s ─► frame f of the layer
    not made yet   the view whose frames reach past f is told the new prompt from f on; nothing is cut at f
    made already   the stream is continued once more from just before f, swapped with what stays like any other view
    carried out    at s the turn enters the timeline for good, at the frame that the sound was told of

If the tempo changes meanwhile, f moves; what was made for another frame is then made again (`keep_up`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from safa_stream.errors import SafaError
from safa_stream.session import messages as m
from safa_stream.session import scenes, turns
from safa_stream.session.layer import NEAR, Layer
from safa_stream.session.state import State, Waiting
from safa_stream.session.timeline import Goal, Timeline
from safa_stream.session.work import Aim, Work


def told_ahead(state: State, layer: Layer, before: int) -> tuple[Timeline, dict[int, float]]:
    """What a view that ends before a frame is told: the timeline with what waits, and the frames of that by command."""
    timeline, frames = layer.timeline, dict[int, float]()
    for waiting, frame in _ahead(state, layer, before):
        frames[waiting.number] = frame
        goal = _goal(state, layer, waiting.command, timeline.last.goal)
        assert goal is not None
        with contextlib.suppress(SafaError):  # what cannot be done is refused when its time has come
            turn = turns.turn_to(state, frame, getattr(waiting.command, "morph", 0.0), goal)
            timeline = timeline.turned(turn)
    return timeline, frames


def keep_up(state: State) -> None:
    """Have made again what was told of a change at another frame than it is due at now, or was not told of it."""
    for layer in state.layers.values():
        work = layer.work
        if layer.heard_from is None or layer.aim is Aim.BACK or (work is not None and work.aim is Aim.BACK):
            continue
        frame = _wrong_from(state, layer, work)
        if frame is None:
            continue
        if work is not None and work.aim is Aim.NEXT:
            layer.work = None
            if frame >= work.base.views.frame(work.view.plan):
                continue
        if layer.aim is not Aim.CUT:
            layer.aim, layer.cut_at = Aim.CUT, frame
        elif layer.cut_at is not None:
            layer.cut_at = min(layer.cut_at, frame)


def _wrong_from(state: State, layer: Layer, work: Work | None) -> int | None:
    """The first frame of a layer's sound, with its view in the making, made of something else than is due."""
    told: Mapping[int, float] = layer.foretold if work is None else work.told_with(layer.foretold)
    if not told and not state.waiting:
        return None
    end = layer.next_frame() if work is None else work.end
    due = {waiting.number: frame for waiting, frame in _ahead(state, layer, end + NEAR + 1)}
    wrong = [frame for number, frame in due.items() if number not in told and frame < end]
    for number, frame in told.items():
        goal = due.get(number)
        if frame < end and (goal is None or abs(goal - frame) > NEAR):
            wrong.append(frame if goal is None else min(frame, goal))
    return int(min(wrong)) if wrong else None


def _ahead(state: State, layer: Layer, before: int) -> Iterator[tuple[Waiting, float]]:
    """What waits for its time and turns the layer, as far as that comes before a frame; and its frame."""
    if state.frozen or layer.heard_from is None:
        return
    per_frame, last = state.model.facts.samples_per_frame, layer.timeline.last.goal
    for waiting in state.waiting:
        frame = round((waiting.at - layer.sound.origin) / per_frame)
        if frame >= before:
            return
        goal = _goal(state, layer, waiting.command, last)
        if goal is not None and turns.is_heard(waiting.command, goal, last):
            yield waiting, float(frame)
            last = goal


def _goal(state: State, layer: Layer, command: m.Command, last: Goal) -> Goal | None:
    """What the layer is told from a command on; None where the command is about something else, or cannot be."""
    match command:
        case m.Prompt() | m.Reseed() if command.layer == layer.number:
            return turns.goal_of(command, last)
        case m.RecallScene() if layer.waits is None:
            return scenes.goals(state, command).get(layer.number)
    return None
