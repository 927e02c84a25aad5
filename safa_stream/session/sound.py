"""A layer's sound so far: pieces of samples on the layer's own clock, and what each view was made from.

    layer samples   0 ........ [ piece | piece | piece ) end          session sample = origin + layer sample
    takes           the hops that were made, newest last: the state before each, its latents, its trajectory

From the takes a stream can be continued at an earlier frame: `cut` for a new view just after the playhead, whose past
are the trajectories of the frames that stay; `back` for going back to what was heard some time ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from safa_stream import decode
from safa_stream.continuation import StreamPlan, StreamState
from safa_stream.decode import DecodeState, crossfade, likeness
from safa_stream.models.interface import Decoder
from safa_stream.session.levels import Leveller, LevelState, level
from safa_stream.session.stereo import first_pair, stereo
from safa_stream.stream import Made
from safa_stream.trajectory import Trajectory, copied
from safa_stream.types import FloatArray

#: Whole trajectories are kept of what is not yet played, as a cut just after the playhead needs them, and of so many
#: full hops, but no more takes than that. Takes that end on lines of the tempo's grid are up to half as long.
WHOLE_TAKES, WHOLE_HOPS = 8, 4
#: So many takes are kept at most, here and in snapshots: a hop each for the time that can be gone back, and as many
#: again. A layer that is cut again and again makes many short ones, each with its states.
MOST_TAKES = 32
#: Samples that are forgotten at once.
LEAST_FORGOTTEN = 100_000


@dataclass(frozen=True, slots=True)
class Making:
    """What a view was made with: prompt lines with their seeds and weights, solver steps, guidance."""

    prompts: tuple[tuple[str, int, float], ...]
    steps: int
    guidance: float


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """One hop: where it begins, the states before it, its final latents [C, H, F], its first frames' trajectory.

    trajectory: the whole view's, while it is recent. views: without references, as every change of the prompt brings
    one that is twice as large as all the rest, and they can be made again.
    """

    frame: int
    views: StreamState
    decoding: DecodeState
    levels: LevelState
    latents: FloatArray
    trajectory: Trajectory | None
    head: Trajectory
    making: Making

    @property
    def stop(self) -> int:
        """The frame after its last."""
        return self.frame + int(self.latents.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """What a layer has and where it goes on. Values: every change makes a new one.

    origin: session sample of layer sample 0; start: the layer sample at which `samples` begins; views, decoding,
    levels: the states that the next view starts from.
    """

    origin: int
    start: int
    samples: FloatArray
    views: StreamState
    decoding: DecodeState
    levels: LevelState
    takes: tuple[Take, ...] = ()

    @property
    def end(self) -> int:
        """The session sample after the last one there is."""
        return self.origin + self.start + int(self.samples.shape[1])

    @property
    def begin(self) -> int:
        """The first session sample there is."""
        return self.origin + self.start

    def slice(self, position: int, count: int) -> FloatArray:
        """[channels, count] from a session sample on; silence where there is nothing."""
        low = position - self.begin
        inside = self.samples[:, max(0, low) : max(0, low + count)]
        if inside.shape[1] == count:
            return inside
        out = np.zeros((self.samples.shape[0], count), np.float32)
        out[:, max(0, -low) : max(0, -low) + inside.shape[1]] = inside
        return out

    def forgotten(self, position: int, oldest: int, played: int, hop: int) -> Sound:
        """Without samples before a session sample, without takes that begin before frame `oldest`, and without whole
        trajectories of takes that end by frame `played`, unless they are among the latest. hop: of the layout."""
        keep = min(max(0, position - self.begin), int(self.samples.shape[1]))
        # Copied, as a part of a long array would keep all of it; and so not for every little bit.
        samples, start = (
            (self.samples[:, keep:].copy(), self.start + keep) if keep > LEAST_FORGOTTEN else (self.samples, self.start)
        )
        takes = [t for t in self.takes if t.frame >= oldest]
        recent = takes[-1].stop - WHOLE_HOPS * hop if takes else 0
        thin = [
            t.trajectory is not None and t.stop <= min(played, recent if left <= WHOLE_TAKES else played)
            for left, t in zip(range(len(takes), 0, -1), takes, strict=True)
        ]
        kept = tuple(replace(t, trajectory=None) if old else t for old, t in zip(thin, takes, strict=True))
        return replace(self, samples=samples, start=start, takes=kept)


def pushed(
    sound: Sound, decoder: Decoder, leveller: Leveller, made: Made, latents: FloatArray, making: Making
) -> Sound:
    """With one more view: its hop decoded, levelled and appended."""
    assert made.state.past is not None
    overlap = int(made.state.past.states.shape[2])
    take = Take(
        made.first_frame,
        replace(sound.views, references=()),
        sound.decoding,
        sound.levels,
        copied(latents),
        made.trajectory,
        made.trajectory.frames(0, overlap).each(copied),
        making,
    )
    decoding, pcm = decode.push(decoder, sound.decoding, latents)
    levels, samples = sound.levels, sound.samples
    if pcm is not None:
        levels, levelled = level(leveller, sound.levels, stereo(pcm))
        samples = np.concatenate([sound.samples, levelled], axis=1)
    return replace(
        sound,
        samples=samples,
        views=made.state,
        decoding=decoding,
        levels=levels,
        takes=(*sound.takes, take)[-MOST_TAKES:],
    )


def cut(sound: Sound, plan: StreamPlan, decoder: Decoder, frame: int) -> Sound | None:
    """The same stream, to be continued by a view that begins at an earlier `frame`; None where too little is kept.

    Its `samples` are empty and begin where decoding has to begin again, at or before that frame.
    """
    whole = [take for take in sound.takes if take.trajectory is not None]
    if not whole or frame < whole[0].frame or frame >= sound.views.frame(plan):
        return None
    past = states_of(whole, frame, plan.layout.overlap)
    if past is None:
        return None
    before = max((take for take in whole if take.frame <= frame), key=lambda take: take.frame)
    # The frames that stay are decoded once more, together with the new ones: the decoder's memory goes through them.
    kept = before.latents[:, : frame - before.frame]
    decoding = replace(before.decoding, carried=np.concatenate([before.decoding.carried, kept], axis=1))
    index = sound.views.index
    views = StreamState(index, past, sound.views.references, frame - index * plan.layout.hop)
    takes = tuple(_shortened(take, frame) for take in sound.takes if take.frame < frame)
    return replace(
        sound,
        start=decoding.emitted * decoder.samples_per_frame,
        samples=sound.samples[:, :0],
        views=views,
        decoding=decoding,
        levels=before.levels,
        takes=takes,
    )


def spliced(before: Sound, after: Sound) -> Sound:
    """`after`, which was cut off and begins anew, with what `before` has ahead of that, and on its clock."""
    kept = before.samples[:, : max(0, after.start - before.start)]
    samples = np.concatenate([kept, after.samples], axis=1)
    return replace(after, origin=before.origin, start=after.start - int(kept.shape[1]), samples=samples)


def led_over(leaving: FloatArray, after: Sound, since: int) -> Sound:
    """`after`, where what was heard before leads over into it: [channels, fade] from a session sample on.

    At constant power however much the two have in common (by the first pair of channels, as what else there is must not
    change it): mostly they are the same up to where a new view begins.
    """
    into = after.slice(since, min(int(leaving.shape[1]), after.end - since))
    out, at = leaving[:, : into.shape[1]], since - after.begin
    faded = crossfade(out, into, likeness(first_pair(out), first_pair(into)))
    head, tail = after.samples[:, :at], after.samples[:, at + into.shape[1] :]
    return replace(after, samples=np.concatenate([head, faded, tail], axis=1))


def back(sound: Sound, frame: int) -> Take | None:
    """The take that holds a frame, to go on from; None where it is forgotten."""
    return next((take for take in sound.takes if take.frame <= frame < take.stop), None)


def resumed(sound: Sound, take: Take, origin: int, decoder: Decoder) -> Sound:
    """The stream as it stood before a take, on a clock that begins at another session sample."""
    return replace(
        sound,
        origin=origin,
        start=take.decoding.emitted * decoder.samples_per_frame,
        samples=sound.samples[:, :0],
        views=replace(take.views, references=sound.views.references),
        decoding=take.decoding,
        levels=take.levels,
        takes=tuple(t for t in sound.takes if t.frame < take.frame),
    )


def states_of(takes: Sequence[Take], frame: int, count: int) -> Trajectory | None:
    """The trajectory of `count` frames from `frame` on: each frame's from the view whose hop it is in."""
    found: Trajectory | None = None
    at = frame
    for number, take in enumerate(takes):
        last = number == len(takes) - 1
        assert take.trajectory is not None
        # The newest view's Right is not final yet, but it is what a following view would be joined to.
        stop = take.frame + int(take.trajectory.states.shape[2]) if last else take.stop
        if take.frame <= at < stop:
            until = min(stop, frame + count)
            piece = take.trajectory.frames(at - take.frame, until - take.frame)
            found = piece if found is None else found.joined(piece)
            at = until
            if at == frame + count:
                return found
    return None


def _shortened(take: Take, frame: int) -> Take:
    """A take whose hop ends at `frame` at the latest."""
    return take if take.stop <= frame else replace(take, latents=take.latents[:, : frame - take.frame])
