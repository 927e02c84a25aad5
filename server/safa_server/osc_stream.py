"""A session's sound and its meters as OSC messages, for programs that take nothing else. Pure.

    /safa/audio  sequence  seconds  samples  blob

Each blob holds interleaved little-endian samples, an equal share of a block that keeps it below a UDP packet which no
network splits. Sequence numbers count packets from the session's first sample: a gap is a lost packet. Seconds and
samples say where in the session's time its first sample is.

    /b_setn  buffer  index  count  sample sample ...

is what scsynth takes to set values of a buffer, and other programs can take apart: the sound as numbers, in a buffer
that is written round and round. Where a sample lies follows from its time, so a reader needs nothing but the session's
clock, and a lost packet leaves a hole where it belongs and moves nothing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from safa_server.osc_packet import write_message
from safa_stream.errors import UsageError
from safa_stream.types import FloatArray

#: Bytes of sound in a packet; with the headers of OSC, UDP and IP it stays below 1280, the least that IPv6 carries.
PAYLOAD = 1200
WIDTHS = {"s16": 2, "f32": 4}
#: Frames of a ring buffer: from a tenth of a second at 48 kHz, far more than a block, to twenty seconds.
LEAST_RING, LARGEST_RING = 4800, 960_000


@dataclass(frozen=True, slots=True)
class RingBuffer:
    """A buffer in another program: its number there and its length. Sample n of the session is frame n mod `frames`."""

    number: int
    frames: int


def packet_frames(block: int, channels: int, sample_format: str, payload: int = PAYLOAD) -> int:
    """Samples a channel in each packet: the largest share of a block that fits. Raises UsageError for the format."""
    if sample_format not in WIDTHS:
        raise UsageError(f"the format must be one of {', '.join(WIDTHS)}, not {sample_format[:40]!r}")
    most = payload // (channels * WIDTHS[sample_format])
    return next(frames for frames in range(min(block, most), 0, -1) if block % frames == 0)


def audio_packets(
    root: str, samples: FloatArray, start: int, rate: int, sample_format: str, payload: int = PAYLOAD
) -> Iterator[bytes]:
    """The messages of one block [channels, frames] that begins at sample `start`, a whole number of blocks."""
    channels, block = samples.shape
    frames = packet_frames(block, channels, sample_format, payload)
    if sample_format == "s16":
        coded = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    else:
        coded = samples.astype("<f4")
    for first in range(0, block, frames):
        seconds, rest = divmod(start + first, rate)
        sequence = (start + first) // frames % 2**31
        yield write_message(f"{root}/audio", sequence, seconds, rest, coded[:, first : first + frames].T.tobytes())


def ring_packets(samples: FloatArray, start: int, ring: RingBuffer) -> Iterator[bytes]:
    """The messages that write one block [channels, frames], which begins at sample `start`, into a ring buffer.

    Packed here by hand: a type tag and a number a sample is too much for a builder that takes one argument at a time.
    """
    channels, block = samples.shape
    # Five bytes a value, type tag and float.
    most = PAYLOAD // (5 * channels)
    values = np.ascontiguousarray(samples.T, ">f4")
    first = 0
    while first < block:
        at = (start + first) % ring.frames
        count = min(most, block - first, ring.frames - at)
        tags = b",iii" + b"f" * (count * channels)
        head = struct.pack(">iii", ring.number, at * channels, count * channels)
        padding = bytes(4 - len(tags) % 4)
        yield b"/b_setn\0" + tags + padding + head + values[first : first + count].tobytes()
        first += count


@dataclass(slots=True)
class Meter:
    """Highest sample and mean square of each of two channels since it was last read. 1 is full scale."""

    count: int = 0
    peaks: list[float] = field(default_factory=lambda: [0.0, 0.0])
    squares: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, count: int, peaks: list[float], squares: list[float]) -> None:
        """Take a block in: its length, its channels' peaks and sums of squares."""
        self.count += count
        self.peaks = [max(pair) for pair in zip(self.peaks, peaks, strict=True)]
        self.squares = [sum(pair) for pair in zip(self.squares, squares, strict=True)]

    def read(self) -> tuple[float, float, float, float]:
        """Peak left, peak right, RMS left, RMS right; then it begins again."""
        rms = [math.sqrt(square / self.count) if self.count else 0.0 for square in self.squares]
        values = (self.peaks[0], self.peaks[1], rms[0], rms[1])
        self.count, self.peaks, self.squares = 0, [0.0, 0.0], [0.0, 0.0]
        return values


def levels(samples: FloatArray) -> tuple[list[float], list[float]]:
    """Peaks and sums of squares of a block's first two channels, which are the same one where it is mono."""
    pair = samples[[0, min(1, len(samples) - 1)]]
    return [float(x) for x in np.abs(pair).max(axis=1)], [float(x) for x in (pair.astype(np.float64) ** 2).sum(axis=1)]
