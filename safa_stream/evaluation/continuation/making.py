"""Sounds by every method, with what each piece of them cost and how much of it was begun before it was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from safa_stream import decode, joint
from safa_stream.evaluation.continuation.ground import Ground, bytes_of
from safa_stream.evaluation.continuation.methods import Method
from safa_stream.evaluation.generate import Settings
from safa_stream.evaluation.wrapping import TimedModel
from safa_stream.models.builtin.features import Array
from safa_stream.models.interface import Encoded, Model

#: What a method is told, by how many frames it has given so far.
Told = Callable[[int], Encoded]


def always(told: Encoded) -> Told:
    """The same from beginning to end."""
    return lambda frame: told


def changing(before: Encoded, after: Encoded, frame: int) -> Told:
    """`after` as soon as so many frames are given: what a listener asks for when they have been heard."""
    return lambda given: before if given < frame else after


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call gave and took: frames, views denoised one step, processor seconds; then held bytes, frames begun."""

    frames: int
    rows: int
    seconds: float
    held: int
    begun: int


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """A sound [channels, N] and the costs of its pieces; change: the frame from which on what was told differed."""

    samples: Array
    costs: tuple[Cost, ...]
    change: int = 0

    @property
    def steady(self) -> tuple[Cost, ...]:
        """All pieces but the first, which may fill a queue or make a reference; that one where there is no other."""
        return self.costs[1:] or self.costs


def ground_of(model: Model, settings: Settings, seed: int) -> Ground:
    """What all methods of one clip are given."""
    table = model.solver(settings.steps_of(model))
    return Ground(model, settings.layout(model), table, settings.guidance_of(model), seed)


def pieces(ground: Ground, method: Method, told: Told) -> Iterator[tuple[Array, Cost, Array]]:
    """Latents [C, n, F] that are final, their cost, and what would end the sound after them; endless."""
    assert method.opens is not None
    watched = TimedModel(ground.model)
    live, given = method.opens(replace(ground, model=watched)), 0
    while True:
        begun, rows = time.process_time(), watched.clock.rows
        made = live.advance(told(given))
        seconds = time.process_time() - begun
        frames = ground.layout.hop if method.apart else int(made.shape[1])
        cost = Cost(frames, watched.clock.rows - rows, seconds, bytes_of(live.held), live.begun)
        given += frames
        yield ground.model.to_numpy(made), cost, ground.model.to_numpy(live.flush())


def take(ground: Ground, method: Method, told: Told, views: int) -> Take:
    """A sound as long as `views` views in a line."""
    width = ground.layout.linear_width(views)
    if not method.live:
        return _canvas(ground, method, told(0), views)
    parts, costs, end = [], [], 0
    change, first = 0, told(0)
    for latents, cost, rest in pieces(ground, method, told):
        end += cost.frames
        parts.append(latents)
        costs.append(cost)
        if not change and told(end) is not first:
            change = end
        # Views that are faded give a whole view for every hop that they add.
        if end + (ground.layout.overlap if method.apart else int(rest.shape[1])) >= width:
            parts.append(rest)
            break
    return Take(_sound(ground, method, parts, width), tuple(costs), change)


def _canvas(ground: Ground, method: Method, told: Encoded, views: int) -> Take:
    """A joint canvas: one piece."""
    watched, begun = TimedModel(ground.model), time.process_time()
    plan = joint.JointPlan(ground.layout, ground.table, method.join, seed=ground.seed)
    latents = ground.model.to_numpy(joint.generate(watched, plan, views, told, ground.guidance))
    frames = int(latents.shape[1])
    cost = Cost(frames, watched.clock.rows, time.process_time() - begun, latents.nbytes, 0)
    return Take(decode.decode_whole(ground.model.decoder(), latents, ground.seed), (cost,))


def _sound(ground: Ground, method: Method, parts: list[Array], width: int) -> Array:
    decoder = ground.model.decoder()
    if not method.apart:
        return decode.decode_whole(decoder, np.concatenate(parts, axis=1)[:, :width], ground.seed)
    views = [decode.decode_whole(decoder, part, ground.seed + at) for at, part in enumerate(parts) if part.shape[1]]
    spans = ground.layout.linear_spans(width)
    return decode.lay_out(views, spans, width, decoder.samples_per_frame, circular=False)
