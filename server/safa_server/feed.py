"""A session in one encoding: its encoder and its latest frames, ready to be written to any client."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

from safa_server import opus
from safa_server.blocks import Block
from safa_server.encoding import Encoder, Encoding

_BINARY, _SHORT, _LONG = 0x82, 126, 127


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame in the ring. packet: the whole WebSocket message; start, frames: at the encoding's rate."""

    sequence: int
    start: int
    frames: int
    packet: bytes

    @property
    def message(self) -> bytes:
        """The binary message alone."""
        marker = self.packet[1]
        return self.packet[4 if marker == _SHORT else 10 if marker == _LONG else 2 :]


class Feed:
    """Keeps frames for `seconds` of sound, within `most_bytes`."""

    def __init__(self, encoding: Encoding, session_rate: int, seconds: float, most_bytes: int, now: float) -> None:
        """now: on the clock of `unheard_since`. Raises UsageError where the format needs what is not installed."""
        self.encoding = encoding
        self.unheard_since = now
        #: Numbers of the oldest frame that is kept and of the one that will be made next; alike where there is none.
        self.first = self.next = 0
        self.begun = False
        self.bytes = 0
        self._encoder = Encoder(encoding, session_rate)
        self._session_rate = session_rate
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._frames: deque[Kept] = deque()
        self._block: tuple[int, int, int] = (0, 0, 0)

    def push(self, block: Block) -> None:
        """Encode a block and keep what it gives."""
        self._block = (block.sequence, block.start, block.samples.shape[1])
        for frame in self._encoder.push(block):
            kept = Kept(frame.sequence, frame.start, frame.frames, packed(frame.data))
            self._frames.append(kept)
            self.bytes += len(kept.packet)
            self.next, self.begun = frame.sequence + 1, True
        while len(self._frames) > 1 and (self.bytes > self._most_bytes or self._span() > self._seconds):
            self.bytes -= len(self._frames.popleft().packet)
        if self._frames:
            self.first = self._frames[0].sequence

    def frame(self, number: int) -> Kept:
        """A frame that is kept."""
        return self._frames[number - self.first]

    def start_of(self, number: int) -> int:
        """First sample of a frame, whether it is kept or not. Needs one block."""
        if self.encoding.format == "opus":
            return number * opus.PACKET - opus.LOOKAHEAD
        sequence, start, length = self._block
        return (start + (number - sequence) * length) * self.encoding.rate // self._session_rate

    def count(self, seconds: float) -> int:
        """How many frames last so long; at least one. Needs one frame."""
        return max(1, round(seconds * self.encoding.rate / self._frames[0].frames))

    def session_samples(self, frames: int) -> int:
        """How many samples of the session's clock so many frames are."""
        return frames * self._frames[0].frames * self._session_rate // self.encoding.rate if frames else 0

    def _span(self) -> float:
        return (self._frames[-1].start - self._frames[0].start) / self.encoding.rate


def packed(message: bytes) -> bytes:
    """A binary WebSocket message as a server sends it (RFC 6455, 5.2): unmasked and whole, for all clients alike."""
    size = len(message)
    if size < _SHORT:
        return bytes((_BINARY, size)) + message
    if size < 2**16:
        return struct.pack("!BBH", _BINARY, _SHORT, size) + message
    return struct.pack("!BBQ", _BINARY, _LONG, size) + message
