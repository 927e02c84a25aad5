"""Latents to sound in pieces with explicit state: decoded in chunks, a stream sounds as if decoded whole.

latents    ... before | to be decoded now | after        `halo` frames of context on both sides;
carried        <-------------------------------->        `after` is decoded once what follows it is known
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from safa_stream.errors import SnapshotError
from safa_stream.layout import Span
from safa_stream.models.interface import Decoder, DecoderState
from safa_stream.trajectory import AnyNumpy, Tensors
from safa_stream.types import FloatArray

#: Frames decoded at once where a whole canvas is: memory stays small, context is a small share.
PIECE = 512
#: The same where others wait for their turn.
STEP = 128


@dataclass(frozen=True, slots=True, eq=False)
class DecodeState:
    """Between pushes: `carried` latents [C, k, F], of which the first `before` are decoded; frames `emitted` so far."""

    seed: int
    carried: FloatArray
    before: int
    emitted: int
    inner: DecoderState

    def to_tensors(self) -> Tensors:
        """Named numpy arrays from which `from_tensors` makes an equal state."""
        tensors: Tensors = {
            "decode/carried": np.ascontiguousarray(self.carried),
            "decode/before": np.array(self.before),
            "decode/emitted": np.array(self.emitted),
        }
        for field in dataclasses.fields(self.inner):
            tensors[f"decode/inner/{field.name}"] = np.array(getattr(self.inner, field.name))
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyNumpy], decoder: Decoder, seed: int) -> DecodeState:
        """What `to_tensors` wrote. Raises SnapshotError where a tensor is missing or the decoder's state is another."""
        inner = decoder.start(seed)
        try:
            values = {field.name: tensors[f"decode/inner/{field.name}"] for field in dataclasses.fields(inner)}
            carried = np.asarray(tensors["decode/carried"], np.float32)
            before, emitted = (int(np.asarray(tensors[f"decode/{name}"])) for name in ("before", "emitted"))
        except KeyError as error:
            raise SnapshotError(f"a saved stream lacks its tensor {error.args[0]}") from None
        plain = {name: value if value.ndim else value.item() for name, value in values.items()}
        return cls(seed, carried, before, emitted, dataclasses.replace(inner, **plain))


def start(decoder: Decoder, seed: int, channels: int, bins: int) -> DecodeState:
    """The state before the first frame of latents [C, n, F]."""
    return DecodeState(seed, np.zeros((channels, 0, bins), np.float32), 0, 0, decoder.start(seed))


def push(
    decoder: Decoder, state: DecodeState, latents: FloatArray, final: bool = False
) -> tuple[DecodeState, FloatArray | None]:
    """Take the next latents [C, n, F]; returns the sound [channels, N] that is now certain, None if there is none.

    The last `halo` frames wait for what follows them; `final` says that nothing does.
    """
    window = np.concatenate([state.carried, np.asarray(latents, np.float32)], axis=1)
    ready = window.shape[1] - state.before - (0 if final else decoder.halo)
    if ready <= 0:
        return dataclasses.replace(state, carried=window), None
    after = 0 if final else decoder.halo
    inner, pcm = decoder.decode(window, state.before, after, state.emitted, state.seed, state.inner)
    before = min(decoder.halo, state.before + ready)
    carried = window[:, state.before + ready - before :].copy()
    return DecodeState(state.seed, carried, before, state.emitted + ready, inner), pcm


def decode_whole(decoder: Decoder, latents: FloatArray, seed: int) -> FloatArray:
    """All of latents [C, T, F] as sound [channels, T * samples_per_frame]."""
    state = start(decoder, seed, latents.shape[0], latents.shape[2])
    pieces = []
    for at in range(0, latents.shape[1], PIECE):
        state, pcm = push(decoder, state, latents[:, at : at + PIECE], final=at + PIECE >= latents.shape[1])
        pieces += [] if pcm is None else [pcm]
    return np.concatenate(pieces, axis=1)


def decode_circular(decoder: Decoder, latents: FloatArray, seed: int) -> FloatArray:
    """The same of a canvas whose end meets its beginning; played in a loop the sound has no seam."""
    pieces = sorted(circular_pieces(decoder, latents, seed), key=lambda piece: piece[0])
    return np.concatenate([pcm for _, pcm in pieces], axis=1)


def circular_pieces(decoder: Decoder, latents: FloatArray, seed: int) -> Iterator[tuple[int, FloatArray]]:
    """`decode_circular` piece by piece, each with the sample that it begins at; the circle's beginning comes last.

    The decoder runs one halo past the end, around the circle, and that tail is faded into the beginning: its latents
    are the same, its noise and phases lead over from the end.
    """
    frames, scale = latents.shape[1], decoder.samples_per_frame
    fade = min(max(1, decoder.halo), frames)
    around = np.arange(-decoder.halo, frames + fade + decoder.halo) % frames
    window, inner = latents[:, around], decoder.start(seed)
    heads, tails = list[FloatArray](), list[FloatArray]()
    for at in range(0, frames + fade, STEP):
        count = min(STEP, frames + fade - at)
        piece = window[:, at : at + count + 2 * decoder.halo]
        inner, pcm = decoder.decode(piece, decoder.halo, decoder.halo, at, seed, inner)
        first, last = (min(max(0, edge - at), count) * scale for edge in (fade, frames))
        heads.append(pcm[:, :first])
        tails.append(pcm[:, last:])
        yield at * scale + first, pcm[:, first:last]
    head, tail = np.concatenate(heads, axis=1), np.concatenate(tails, axis=1)
    # By the first two channels: what else there is must not change them.
    yield 0, crossfade(tail, head, likeness(tail[:2], head[:2]))


def crossfade(out: FloatArray, into: FloatArray, correlation: float = 0.0) -> FloatArray:
    """From `out` to `into` [channels, N] at constant power for signals so correlated (0: the equal-power fade)."""
    angle = (np.arange(out.shape[1]) + 0.5) * (np.pi / 2 / out.shape[1])
    falling, rising = np.cos(angle), np.sin(angle)
    scale = 1 / np.sqrt(1 + 2 * correlation * falling * rising)
    return np.asarray(out * (falling * scale) + into * (rising * scale), np.float32)


def likeness(a: FloatArray, b: FloatArray) -> float:
    """Correlation of two signals of one shape, negative values as 0."""
    power = float(np.sqrt(np.sum(a * a, dtype=np.float64) * np.sum(b * b, dtype=np.float64)))
    return max(0.0, float(np.sum(a * b, dtype=np.float64)) / power) if power else 0.0


def lay_out(pieces: Sequence[FloatArray], spans: Sequence[Span], width: int, scale: int, circular: bool) -> FloatArray:
    """Views' sounds laid on a canvas of `width` frames, faded at equal power over what neighbours share.

    `scale`: samples a frame. On a circle the last view fades into the first.
    """
    out = np.zeros((pieces[0].shape[0], width * scale), np.float32)
    starts = [span.start for span in spans] + [spans[0].start + width]
    for index, (piece, span) in enumerate(zip(pieces, spans, strict=True)):
        weights = np.ones(piece.shape[1], np.float32)
        if circular or index:
            before = starts[index] - starts[index - 1] if index else width - starts[-2]
            weights[: (span.length - before) * scale] *= _rising((span.length - before) * scale)
        if circular or index + 1 < len(spans):
            after = starts[index + 1] - starts[index]
            weights[after * scale :] *= _rising((span.length - after) * scale)[::-1]
        for inside, outside in Span(span.start * scale, piece.shape[1]).pieces(width * scale):
            out[:, outside] += piece[:, inside] * weights[inside]
    return out


def _rising(samples: int) -> FloatArray:
    return np.asarray(np.sin((np.arange(samples) + 0.5) * (np.pi / 2 / max(1, samples))), np.float32)
