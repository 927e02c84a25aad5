"""A session's blocks as audio frames in one format, rate and channel count; all listeners that want it share them.

Frame `sequence` holds the time of the block with that number in every PCM encoding: its samples run from
floor(block start * rate / session rate) to the same of the block's end, so each frame's `start` continues the last
one's end, whatever the rates. Resampled frames leave a few blocks later than their block. Opus frames are the packets
of 20 ms; their `start` is where a decoder's output lies, the encoder's lookahead taken off.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from safa_server import opus
from safa_server.blocks import Block
from safa_server.header import FORMATS, PLAIN, TIMED, BeatTime, Header, pack
from safa_stream.errors import UsageError
from safa_stream.rendering.conversion import Resampler, check, with_channels
from safa_stream.session.tempo import Grid
from safa_stream.types import FloatArray


@dataclass(frozen=True, slots=True)
class Encoding:
    """Format, rate in Hz and channels of frames, and their header. layer: whose sound they are, None: the whole mix."""

    format: str
    rate: int
    channels: int
    layer: int | None = None
    header: int = PLAIN

    def __str__(self) -> str:
        of_layer = "" if self.layer is None else f" of layer {self.layer}"
        return f"{self.format} {self.rate} Hz x{self.channels}{of_layer}"


@dataclass(frozen=True, slots=True)
class Frame:
    """One binary message, ready to send. start, frames: at the encoding's rate."""

    sequence: int
    start: int
    frames: int
    data: bytes


def encoding_of(
    format: str,
    rate: int | None,
    channels: int | None,
    session_rate: int,
    session_channels: int,
    layer: int | None = None,
    header: int = PLAIN,
) -> Encoding:
    """What a client asked for, the session's own where it did not say. Raises UsageError for what cannot be."""
    if format not in FORMATS:
        raise UsageError(f"the format must be one of {', '.join(FORMATS)}, not {format!r}")
    check(rate, channels)
    channels = session_channels if channels is None else channels
    if channels > session_channels:
        raise UsageError(f"field 'channels': the session has {session_channels}, not {channels}")
    if format == "opus":
        opus.check(channels)
        if rate not in (None, opus.RATE):
            raise UsageError(f"Opus frames have a rate of {opus.RATE} Hz, not {rate}")
        return Encoding(format, opus.RATE, channels, layer, header)
    return Encoding(format, session_rate if rate is None else rate, channels, layer, header)


class Encoder:
    """Blocks in, frames out, from any block on. Raises UsageError where the format needs what is not installed."""

    def __init__(self, encoding: Encoding, session_rate: int) -> None:
        self.encoding = encoding
        self._from = session_rate
        self._resampler = Resampler(session_rate, encoding.rate, encoding.channels)
        self._payload = _payload(encoding)
        self._held: deque[FloatArray] = deque()
        self._head = 0
        self._tail = 0
        self._pending: deque[Header] = deque()
        self._next_block: int | None = None
        self._grid: Grid | None = None

    def push(self, block: Block) -> list[Frame]:
        """The frames that this block completes. Blocks have to follow each other."""
        samples = with_channels(block.of(self.encoding.layer), self.encoding.channels)
        if self._next_block is None:
            samples = self._begin(block, samples)
        elif block.start != self._next_block:
            raise ValueError(f"block {block.sequence} begins at {block.start}, expected was {self._next_block}")
        self._next_block = block.start + block.samples.shape[1]
        self._grid = block.grid
        self._expect(block)
        converted = self._resampler.push(samples)
        self._held.append(converted)
        self._tail += converted.shape[1]
        frames = []
        while self._pending and self._pending[0].start + self._pending[0].frames <= self._tail:
            frames.append(self._frame(self._pending.popleft()))
        return frames

    def _begin(self, block: Block, samples: FloatArray) -> FloatArray:
        """Put the resampler on the common grid of both rates, by silence before the first block."""
        grid = self._from // math.gcd(self._from, self.encoding.rate)
        silent = block.start % grid
        self._head = self._tail = (block.start - silent) * self.encoding.rate // self._from
        return np.concatenate([np.zeros((len(samples), silent), np.float32), samples], axis=1) if silent else samples

    def _expect(self, block: Block) -> None:
        """Note which frames begin in this block."""
        first, last = (at * self.encoding.rate // self._from for at in (block.start, self._next_block or 0))
        head = Header(
            self.encoding.format,
            self.encoding.channels,
            self.encoding.rate,
            last - first,
            block.sequence,
            first,
            block.clock_ns,
            block.provenance,
            0,
        )
        if self.encoding.format != "opus":
            self._pending.append(head)
            return
        for number in range(-(-first // opus.PACKET), -(-last // opus.PACKET)):
            self._pending.append(replace(head, sequence=number, start=number * opus.PACKET, frames=opus.PACKET))

    def _frame(self, head: Header) -> Frame:
        payload = self._payload(self._take(head.start, head.frames))
        start = head.start - opus.LOOKAHEAD if head.format == "opus" else head.start
        head = replace(head, start=start, size=len(payload), time=self._time(start))
        return Frame(head.sequence, start, head.frames, pack(head, payload))

    def _time(self, start: int) -> BeatTime | None:
        """Where in the grid sample `start` at the encoding's rate lies."""
        if self.encoding.header != TIMED or self._grid is None:
            return None
        sample = start * self._from / self.encoding.rate
        return BeatTime(self._grid.beat(sample), self._grid.bpm_at(sample), self._grid.beats_per_bar)

    def _take(self, start: int, count: int) -> FloatArray:
        """[channels, count] from absolute sample `start` on; what came before is forgotten."""
        held = self._held[0] if len(self._held) == 1 else np.concatenate(self._held, axis=1)
        at = start - self._head
        self._held.clear()
        self._held.append(held[:, at + count :])
        self._head = start + count
        return held[:, at : at + count]


def _payload(encoding: Encoding) -> Callable[[FloatArray], bytes]:
    if encoding.format == "opus":
        return opus.OpusEncoder(encoding.channels).encode
    return {"f32": as_f32, "s16": as_s16, "s24": as_s24}[encoding.format]


def as_f32(samples: FloatArray) -> bytes:
    """[channels, N] interleaved, as it is."""
    return np.ascontiguousarray(samples.T, "<f4").tobytes()


def as_s16(samples: FloatArray) -> bytes:
    """[channels, N] interleaved, to the nearest of 2^16 steps, full scale clipped, without dither."""
    return _whole(samples, 2**15).astype("<i2").tobytes()


def as_s24(samples: FloatArray) -> bytes:
    """[channels, N] interleaved, to the nearest of 2^24 steps, full scale clipped; three bytes a sample."""
    wide = _whole(samples, 2**23).astype("<i4")
    return np.ascontiguousarray(wide.reshape(-1, 1).view(np.uint8)[:, :3]).tobytes()


def _whole(samples: FloatArray, scale: int) -> FloatArray:
    # Scaling by a power of two is exact in float32, so only the rounding rounds. A NaN would be any number: silence.
    scaled = np.rint(np.nan_to_num(samples.T, nan=0.0, posinf=1.0, neginf=-1.0) * np.float32(scale))
    return np.ascontiguousarray(np.clip(scaled, -scale, scale - 1))
