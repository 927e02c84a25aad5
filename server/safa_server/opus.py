"""Opus packets of 20 ms by libopus. Needs the extra `opus`; nothing else in the server does."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.types import FloatArray

RATE = 48_000
#: Samples a channel in one packet.
PACKET = 960
#: Samples by which what a decoder gives lags behind what the encoder took (libopus at 48 kHz, application "audio").
LOOKAHEAD = 312
#: Bits a second, by channels.
BIT_RATES = {1: 96_000, 2: 160_000}


def check(channels: int) -> None:
    """Raise UsageError where that is not 1 or 2."""
    if channels not in BIT_RATES:
        raise UsageError(
            f"field 'channels': Opus frames have 1 or 2, not {channels}: ask for 2, the first pair, or for a PCM format"
        )


class OpusEncoder:
    """One stream of packets; it remembers what came before."""

    def __init__(self, channels: int) -> None:
        """Raises UsageError where the extra is not installed or channels is not 1 or 2."""
        check(channels)
        # PyAV is the libopus binding that is kept (aiortc lives on it) and whose wheels hold libopus for Linux, macOS
        # and Windows. opuslib and PyOgg need a system library and were last released years ago; their forks are young.
        try:
            self._av: Any = importlib.import_module("av")
            context = self._av.CodecContext.create("libopus", "w")
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"format 'opus' needs libopus ({error}); install it with: pip install 'safa-stream[opus]'"
            ) from None
        self._layout = "stereo" if channels == 2 else "mono"
        context.sample_rate = RATE
        context.layout = self._layout
        context.format = "flt"
        context.bit_rate = BIT_RATES[channels]
        context.options = {"frame_duration": "20", "application": "audio"}
        context.open()
        self._context = context
        self._fed = 0

    def encode(self, samples: FloatArray) -> bytes:
        """One packet of [channels, PACKET] samples at RATE."""
        flat = np.ascontiguousarray(np.clip(samples, -1, 1).T, np.float32).reshape(1, -1)
        frame = self._av.AudioFrame.from_ndarray(flat, format="flt", layout=self._layout)
        frame.sample_rate = RATE
        frame.pts = self._fed
        self._fed += PACKET
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


class OpusDecoder:
    """Packets back to samples, for clients and tests. Raises UsageError where the extra is not installed."""

    def __init__(self, channels: int) -> None:
        try:
            self._av: Any = importlib.import_module("av")
        except ImportError as error:
            raise UsageError(f"decoding Opus needs libopus ({error}): pip install 'safa-stream[opus]'") from None
        self._context = self._av.CodecContext.create("libopus", "r")
        self._context.sample_rate = RATE
        self._context.layout = "stereo" if channels == 2 else "mono"
        self._channels = channels

    def decode(self, packet: bytes) -> FloatArray:
        """[channels, PACKET] float32."""
        pieces = [frame.to_ndarray() for frame in self._context.decode(self._av.Packet(packet))]
        found = np.concatenate([piece.reshape(-1, self._channels) for piece in pieces]).T
        whole = np.float32(2**15) if found.dtype == np.int16 else np.float32(1)
        return np.ascontiguousarray(found.astype(np.float32) / whole)
