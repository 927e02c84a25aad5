"""Seamless loops of what was heard: the end of a stretch is led back to its beginning by one more view.

    canvas   | head ............ kept ............ | tail O |   new M   |          length N
    view                                           | tail O |   new M   | head O |
                                                    past ->               <- future

The closing view is swapped with the stretch's end on its left, as the stream does it, and with the stretch's beginning
on its right, mirrored; what is between is new. So the canvas is a circle, and is decoded as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from safa_stream import decode
from safa_stream.continuation import StreamPlan
from safa_stream.errors import UsageError
from safa_stream.models.interface import Decoder, Encoded, Model, mix_encoded
from safa_stream.operators import choose, like
from safa_stream.session import mixing, safety
from safa_stream.session.sound import Sound, states_of
from safa_stream.session.stereo import channels_of, stereo
from safa_stream.session.strips import Strip
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
#: After so long mixer and limiter know nothing of what they began with.
WARM_SECONDS = 10
#: Takes a piece of a loop [channels, n] and the loop's sample that it begins at.
Write = Callable[[int, FloatArray], None]


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

    @property
    def frames(self) -> int:
        """The loop's length, to the nearest frame."""
        return round(self.seconds * self.model.facts.frames_per_second)

    @property
    def length(self) -> int:
        """The same in samples."""
        return self.frames * self.decoder.samples_per_frame

    @property
    def channels(self) -> int:
        """The session's."""
        return channels_of(self.model)


def make_loop(capture: Capture) -> FloatArray:
    """The loop [channels, length]; played round and round it has no seam."""
    loop = np.empty((capture.channels, capture.length), np.float32)

    def write(at: int, piece: FloatArray) -> None:
        loop[:, at : at + piece.shape[1]] = piece

    finished(loop_steps(capture, write))
    return loop


def loop_steps(capture: Capture, write: Write) -> Steps[None]:
    """Make a loop and hand it on in pieces, some of them twice: the later one counts. No step takes longer than a
    view's decode, and no more than a few seconds of the sound are held.

    Raises UsageError where so much was not kept.
    """
    canvases = {}
    for number, part in capture.parts:
        canvases[number] = yield from close(capture.model, part, capture.frames, capture.guidance)
    yield from _mixed(capture, canvases, write)


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


def _mixed(capture: Capture, canvases: dict[int, FloatArray], write: Write) -> Steps[None]:
    """The layers decoded and through mixer and limiter as they stand, once round the circle, and on for a while: so its
    beginning was mixed after its end."""
    rate, parts = capture.model.facts.sample_rate, dict(capture.parts)
    streams = {n: decode.circular_pieces(capture.decoder, canvas, parts[n].seed) for n, canvas in canvases.items()}
    desk = _Desk(capture, write)
    again, kept = list[tuple[int, dict[int, FloatArray]]](), 0
    while True:
        at, sounds = 0, dict[int, FloatArray]()
        for number, stream in streams.items():
            piece = next(stream, None)
            if piece is None:
                break
            at, sounds[number] = piece[0], stereo(piece[1]) * np.float32(parts[number].sound.levels.gain)
            yield
        if not sounds:
            break
        if kept < WARM_SECONDS * rate:
            again.append((at, sounds))
            kept += next(iter(sounds.values())).shape[1]
        yield from desk.mix(at, sounds)
    for at, sounds in again:
        yield from desk.mix(at, sounds)


class _Desk:
    """Mixer and limiter of a loop, whose pieces come in the order of the circle."""

    def __init__(self, capture: Capture, write: Write) -> None:
        self._rate, self._length, self._write = capture.model.facts.sample_rate, capture.length, write
        strips = {number: part.strip for number, part in capture.parts}
        self._mixing = mixing.begin(self._rate, strips, capture.master, capture.channels)
        self._limiter = safety.limiter(self._rate)
        self._limiting = safety.begin(self._limiter, capture.channels)

    def mix(self, at: int, sounds: dict[int, FloatArray]) -> Steps[None]:
        """Mix a piece of all layers that begins at a sample of the loop."""
        size = next(iter(sounds.values())).shape[1]
        for begin in range(0, size, MIXED_SECONDS * self._rate):
            piece = {number: sound[:, begin : begin + MIXED_SECONDS * self._rate] for number, sound in sounds.items()}
            self._mixing, mixed = mixing.mix(self._mixing, piece)
            self._limiting, out = safety.limit(self._limiter, self._limiting, mixed)
            # The limiter is late by a few samples: what comes out now belongs there.
            place = (at + begin - self._limiter.delay) % self._length
            until = min(out.shape[1], self._length - place)
            self._write(place, out[:, :until])
            if until < out.shape[1]:
                self._write(0, out[:, until:])
            yield
