"""Seamless loops of what was heard: the end of a stretch is led back to its beginning by one more view.

    canvas   | head ............ kept ............ | tail O |   new M   |          length N
    view                                           | tail O |   new M   | head O |
                                                    past ->               <- future

The closing view is swapped with the stretch's end on its left, as the stream does it, and with the stretch's beginning
on its right, mirrored; what is between is new. So the canvas is a circle, and is decoded as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safa_stream import decode
from safa_stream.continuation import StreamPlan
from safa_stream.errors import UsageError
from safa_stream.models.interface import Decoder, Encoded, Model, mix_encoded
from safa_stream.operators import choose, like
from safa_stream.session import mixing, safety
from safa_stream.session.mixing import Strip
from safa_stream.session.sound import Sound, states_of
from safa_stream.session.stereo import CHANNELS, stereo
from safa_stream.solvers import step
from safa_stream.trajectory import Trajectory
from safa_stream.types import Array, FloatArray, Steps, finished
from safa_stream.views import Batch, first_state


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One layer of a loop: its sound as it was when the loop was asked for, what it was told, and its strip."""

    sound: Sound
    plan: StreamPlan
    told: tuple[tuple[Encoded, float], ...]
    strip: Strip
    seed: int


#: Sound that is mixed in one step of the work: mixing takes a hundred times the memory of what it mixes.
MIXED_SECONDS = 1


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """A loop that was asked for by a command: all that making it needs."""

    command: int
    seconds: float
    model: Model
    decoder: Decoder
    parts: tuple[tuple[int, Part], ...]
    master: Strip
    guidance: float


def make_loop(capture: Capture) -> FloatArray:
    """The loop [channels, N], N samples being `seconds` to the nearest frame; played round and round it has no seam."""
    return finished(loop_steps(capture))


def loop_steps(capture: Capture) -> Steps[FloatArray]:
    """`make_loop` in steps none of which takes longer than a view's decode."""
    facts = capture.model.facts
    frames = round(capture.seconds * facts.frames_per_second)
    layers = {}
    for number, part in capture.parts:
        canvas = yield from close(capture.model, part, frames, capture.guidance)
        layers[number] = stereo((yield from decode.circular_steps(capture.decoder, canvas, part.seed)))
        layers[number] *= np.float32(part.sound.levels.gain)
    return (yield from _mixed(capture, layers))


def close(model: Model, part: Part, frames: int, guidance: float) -> Steps[FloatArray]:
    """Latents [C, frames, F] of one layer whose end leads over into their beginning.

    Raises UsageError where so much was not kept.
    """
    overlap, new = part.plan.layout.overlap, part.plan.layout.middle
    kept = frames - new
    recent = [take for take in part.sound.takes if take.trajectory is not None]
    if not recent:
        raise UsageError("nothing was made yet that a loop could be made of")
    newest = recent[-1].stop
    starts = [take for take in part.sound.takes if take.frame + kept <= newest]
    if not starts:
        raise UsageError("less was kept of the sound than the loop is to have")
    first = starts[-1]
    stop = first.frame + kept
    tail = states_of(recent, stop - overlap, overlap)
    if tail is None:
        raise UsageError("the sound changed its course too lately for a loop; ask again in a few seconds")
    bridge = yield from _bridge(model, part, tail, first.head, stop - overlap, guidance)
    held = np.concatenate([take.latents for take in part.sound.takes if take.frame >= first.frame], axis=1)
    canvas = np.concatenate([held[:, : kept - overlap], bridge[:, : overlap + new]], axis=1)
    # What the closing view made of the head replaces it; its first frames are the head's own either way.
    canvas[:, :overlap] = bridge[:, overlap + new :]
    return np.asarray(canvas, np.float32)


def _bridge(
    model: Model, part: Part, past: Trajectory, future: Trajectory, frame: int, guidance: float
) -> Steps[FloatArray]:
    """The closing view [C, view, F]: its first frames from the past, its last from the future, step by step."""
    plan = part.plan
    table, overlap, steps = plan.table, plan.layout.overlap, plan.table.steps
    past, future = past.at(table.times), future.at(table.times)
    x = first_state(model, plan.seed, "loop", frame, plan.layout.view, table.initial_scale)
    x[0, :, :overlap], x[0, :, -overlap:] = past.states[0], future.states[0]
    h: Array | None = x * 0.0 if table.multistep else None
    batch = Batch([mix_encoded(part.told)], guidance)
    for index in range(steps):
        left = plan.schedule.mask(index, steps, overlap)
        known = np.zeros((1, plan.layout.view), np.float32)
        known[0, :overlap], known[0, -overlap:] = left, left[::-1]
        context = x * 0.0
        context[0, :, :overlap], context[0, :, -overlap:] = past.states[-1], future.states[-1]
        told_known = like(known, x)
        context = context * told_known[:, None, :, None]
        listens = model.facts.takes_context and plan.schedule.context
        m = model.denoise(
            x, *batch.told(x, table.timesteps[index]), *((context, told_known) if listens else (None, None))
        )
        x, clean = step(table.row(index), x, m, h)
        h = clean if table.multistep else None
        for rows, which in ((x, "states"), (h, "history")):
            if rows is None:
                continue
            own, before = rows[0], past.kept(which, index + 1)
            own[:, :overlap] = choose(left, before, own[:, :overlap])
            after = future.kept(which, index + 1)
            own[:, -overlap:] = choose(left[::-1].copy(), after, own[:, -overlap:])
        yield
    return model.to_numpy(x[0])


def _mixed(capture: Capture, layers: dict[int, FloatArray]) -> Steps[FloatArray]:
    """The layers through mixer and limiter as they stand, round and round: the second round has no beginning."""
    rate = capture.model.facts.sample_rate
    strips = {number: part.strip for number, part in capture.parts}
    state = mixing.begin(rate, strips, capture.master)
    limiter = safety.limiter(rate)
    limiting = safety.begin(limiter, CHANNELS)
    length = next(iter(layers.values())).shape[1]
    loop = np.empty((CHANNELS, length), np.float32)
    for _ in range(2):
        for at in range(0, length, MIXED_SECONDS * rate):
            piece = {number: sound[:, at : at + MIXED_SECONDS * rate] for number, sound in layers.items()}
            state, mixed = mixing.mix(state, piece)
            limiting, out = safety.limit(limiter, limiting, mixed)
            # The limiter is late by a few samples: moved back round the circle, the loop begins where it was to.
            loop[:, np.arange(at, at + out.shape[1]) - limiter.delay] = out
            yield
    return loop
