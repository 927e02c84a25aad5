"""What a layer's next view is to be made of, and the view that an order begins.

A snapshot holds orders in place of views in the making. Carried out again on the same sound, an order gives the same
view to the bit, whatever the session has been told since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from safa_stream.errors import SnapshotError
from safa_stream.scene import format_prompts
from safa_stream.session import foretelling, turns
from safa_stream.session import messages as m
from safa_stream.session import sound as sounds
from safa_stream.session.hops import hop_of
from safa_stream.session.layer import FIRM_RATIO, Layer
from safa_stream.session.sound import Making, Sound
from safa_stream.session.state import State
from safa_stream.session.tempo import FREE
from safa_stream.session.timeline import Turn
from safa_stream.session.work import Aim, Order, Work
from safa_stream.stream import Mixture, View

#: A view is told of so many prompts at once at most: each needs a reference of its own.
LARGEST_MIXTURE = 4


def wanted_steps(state: State, layer: Layer) -> int:
    """Solver steps that a layer's views are to be made with."""
    steps = layer.own.over(state.settings).steps
    return state.model.facts.default_steps if steps is None else steps


def begin(state: State, layer: Layer, steps: int | None, expected: float) -> Work:
    """A layer's next view as all stands now; a cut or a way back that is not possible any more is given up.

    steps: where it is short of time; expected: seconds that it will take.
    """
    wanted = wanted_steps(state, layer)
    made_with = wanted if steps is None else min(steps, wanted)
    aim, frame, base = _way(state, layer, expected)
    first, index = base.views.frame(layer.plan), base.views.index
    if made_with < wanted:
        state.tell(
            m.FewerSteps(position=state.position, layer=layer.number, view=index, steps=made_with, wanted=wanted)
        )
    settings, layout = layer.own.over(state.settings), layer.plan.layout
    timeline, foretold = foretelling.told_ahead(state, layer, first + layout.view)
    hop = hop_of(state.grid, layer, base, settings.hops or FREE, state.model.facts.samples_per_frame)
    heard, ratio = _heaviest(timeline.weights(first + hop / 2)), settings.reference_ratio or 0.0
    prompts = tuple((format_prompts(turn.prompts), turn.seed, round(weight, 4)) for turn, weight in heard)
    order = Order(
        layer.number,
        aim,
        frame,
        turns.told(timeline, heard, first, layout),
        Making(prompts, made_with, state.guidance(settings)),
        hop,
        seed=max(heard, key=lambda part: part[1])[0].seed,
        ratio=max(FIRM_RATIO, ratio) if layer.firm else ratio,
        cut_at=layer.cut_at,
    )
    layer.aim, layer.cut_at = Aim.NEXT, None
    layer.work = _work(state, layer, order, base, foretold)
    return layer.work


def again(state: State, order: Order, foretold: Mapping[int, float]) -> Work:
    """Begin an order's view on the layer's sound as it was then. Raises SnapshotError where it is not as it was."""
    layer = state.layers[order.layer]
    base = _base(state, layer, order.aim, order.frame)
    if base is None:
        raise SnapshotError(f"layer {order.layer} has nothing to go on from at frame {order.frame}")
    layer.work = _work(state, layer, order, base, foretold)
    return layer.work


def _work(state: State, layer: Layer, order: Order, base: Sound, foretold: Mapping[int, float]) -> Work:
    table = state.model.solver(order.making.steps)
    plan = replace(layer.plan, table=table, reference_ratio=order.ratio, seed=order.seed)
    told = cast(Mixture, [(turn.told, weight) for turn, weight in order.told])
    view = View(state.model, plan, base.views, told, order.making.guidance, order.hop)
    return Work(order, view, base, state.decoder, state.leveller, state.model, dict(foretold))


def _way(state: State, layer: Layer, expected: float) -> tuple[Aim, int, Sound]:
    """Where a layer's next view goes on: its aim, the frame, and what it continues."""
    per_frame, frame = state.model.facts.samples_per_frame, layer.next_frame()
    if layer.aim is Aim.CUT:
        # Frames that the schedule leaves to the past to the end may already have been heard when the view is done.
        kept = int(layer.plan.layout.overlap * layer.plan.schedule.kept)
        soonest = layer.frame_at(layer.playhead(state.position + round(expected * state.rate)), per_frame)
        frame = max(0, max(soonest, layer.cut_at or 0) - kept)
    elif layer.aim is Aim.BACK:
        frame = layer.back_sample // per_frame
    base = _base(state, layer, layer.aim, frame)
    return (Aim.NEXT, layer.next_frame(), layer.sound) if base is None else (layer.aim, frame, base)


def _base(state: State, layer: Layer, aim: Aim, frame: int) -> Sound | None:
    """What a view continues; None where that is not there (any more)."""
    if aim is Aim.CUT:
        return sounds.cut(layer.sound, layer.plan, state.decoder, frame)
    if aim is Aim.BACK and layer.pending is None:
        take = sounds.back(layer.sound, frame)
        return None if take is None else sounds.resumed(layer.sound, take, layer.sound.origin, state.decoder)
    return layer.pending if aim is Aim.BACK else layer.sound


def _heaviest(heard: list[tuple[Turn, float]]) -> list[tuple[Turn, float]]:
    """The few turns that weigh most, in their order; their weights sum to 1 again."""
    if len(heard) <= LARGEST_MIXTURE:
        return heard
    least = sorted((weight for _, weight in heard), reverse=True)[LARGEST_MIXTURE - 1]
    kept = [part for part in heard if part[1] >= least][-LARGEST_MIXTURE:]
    total = sum(weight for _, weight in kept)
    return [(turn, weight / total) for turn, weight in kept]
