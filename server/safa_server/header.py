"""The header of a binary audio frame, 48 bytes or with beat time 64; PROTOCOL.md "Audio frames". Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from safa_server.fields import WireError
from safa_stream.types import FloatArray

MAGIC = b"SAFA"
#: Version 2 is version 1 with beat time after it.
PLAIN, TIMED = 1, 2
FORMATS: Mapping[str, int] = {"f32": 0, "s16": 1, "s24": 2, "opus": 3}
BYTES_PER_SAMPLE: Mapping[str, int] = {"f32": 4, "s16": 2, "s24": 3}
#: Flag: frames are missing between the one sent before and this one.
AFTER_GAP = 1

_LAYOUT = struct.Struct("<4s4B2I QqQ 2I")
_BEAT = struct.Struct("<dff")
SIZES: Mapping[int, int] = {PLAIN: _LAYOUT.size, TIMED: _LAYOUT.size + _BEAT.size}
_FLAGS_AT = 7
_NAMES = {number: name for name, number in FORMATS.items()}

#: Offset, type, name and meaning of each field, for PROTOCOL.md.
TABLE = (
    (0, "4 bytes", "magic", '"SAFA"'),
    (4, "u8", "version", f"{PLAIN}, or {TIMED} where `header` 2 was asked for"),
    (5, "u8", "format", ", ".join(f"{number} {name}" for name, number in FORMATS.items())),
    (6, "u8", "channels", "1 to 16"),
    (7, "u8", "flags", "bit 0: frames are missing before this one; other bits 0"),
    (8, "u32", "rate", "samples a second"),
    (12, "u32", "frames", "samples a channel in this frame"),
    (16, "u64", "sequence", "number of this frame; the next one has the next"),
    (24, "i64", "start", "absolute sample, at this rate, where this frame's sound begins"),
    (32, "u64", "clock", "the server's monotonic clock in nanoseconds when the sound left the session"),
    (40, "u32", "provenance", "id of what made the sound"),
    (44, "u32", "bytes", "size of the payload"),
    (48, "f64", "beat", "version 2 only: the beat at the frame's first sample"),
    (56, "f32", "bpm", "version 2 only: beats a minute there"),
    (60, "f32", "beats_per_bar", "version 2 only: bars begin at whole multiples of it"),
    ("48, 64", "", "payload", "interleaved little-endian samples, or one Opus packet"),
)


@dataclass(frozen=True, slots=True)
class BeatTime:
    """The beat at a frame's first sample, beats a minute there, and how many beats a bar has."""

    beat: float
    bpm: float
    beats_per_bar: float


@dataclass(frozen=True, slots=True)
class Header:
    """What a frame says of itself. start: absolute sample at `rate`; frames: samples a channel; size: payload bytes.

    time: where in the tempo's grid the frame begins; None in version 1.
    """

    format: str
    channels: int
    rate: int
    frames: int
    sequence: int
    start: int
    clock_ns: int
    provenance: int
    size: int
    flags: int = 0
    time: BeatTime | None = None

    @property
    def version(self) -> int:
        """Of the header."""
        return PLAIN if self.time is None else TIMED


def pack(header: Header, payload: bytes) -> bytes:
    """One binary message. Raises WireError where a value does not fit its place."""
    if header.size != len(payload):
        raise WireError(
            "bad_value", f"the header says {header.size} bytes of payload, there are {len(payload)}", "bytes"
        )
    try:
        head = _LAYOUT.pack(
            MAGIC,
            header.version,
            FORMATS[header.format],
            header.channels,
            header.flags,
            header.rate,
            header.frames,
            header.sequence,
            header.start,
            header.clock_ns,
            header.provenance,
            header.size,
        )
        if header.time is not None:
            head += _BEAT.pack(header.time.beat, header.time.bpm, header.time.beats_per_bar)
    except (struct.error, KeyError) as error:
        raise WireError("bad_value", f"the frame's header cannot be written: {error}") from None
    return head + payload


def unpack(message: bytes) -> tuple[Header, bytes]:
    """Header and payload of a binary message. Raises WireError saying what is wrong with it."""
    if len(message) < _LAYOUT.size:
        raise WireError("bad_value", f"an audio frame has at least {_LAYOUT.size} bytes, this one has {len(message)}")
    magic, version, number, channels, flags, rate, frames, sequence, start, clock, provenance, size = (
        _LAYOUT.unpack_from(message)
    )
    if magic != MAGIC:
        raise WireError("bad_value", f"an audio frame begins with {MAGIC!r}, this one with {bytes(magic)!r}", "magic")
    if version not in SIZES:
        raise WireError("bad_value", f"the frame is of version {version}, known are {PLAIN} and {TIMED}", "version")
    if number not in _NAMES:
        raise WireError("bad_value", f"the frame has the unknown format {number}", "format")
    if flags & ~AFTER_GAP:
        raise WireError("bad_value", f"the frame has unknown flags {flags:#x}", "flags")
    if not channels or not rate:
        raise WireError("bad_value", f"a frame of {channels} channels at {rate} Hz cannot be", "channels")
    left = len(message) - SIZES[version]
    if size != left:
        raise WireError("bad_value", f"the header says {size} bytes of payload, there are {left}", "bytes")
    name = _NAMES[number]
    if name in BYTES_PER_SAMPLE and size != frames * channels * BYTES_PER_SAMPLE[name]:
        raise WireError("bad_value", f"{frames} frames of {channels} x {name} are not {size} bytes", "frames")
    time = BeatTime(*_BEAT.unpack_from(message, _LAYOUT.size)) if version == TIMED else None
    header = Header(name, channels, rate, frames, sequence, start, clock, provenance, size, flags, time)
    return header, message[SIZES[version] :]


def with_gap(message: bytes) -> bytes:
    """The same binary message with the flag that frames are missing before it."""
    return message[:_FLAGS_AT] + bytes([message[_FLAGS_AT] | AFTER_GAP]) + message[_FLAGS_AT + 1 :]


def samples(header: Header, payload: bytes) -> FloatArray:
    """A PCM payload as float32 [channels, frames], full scale 1. Raises WireError for Opus."""
    if header.format == "f32":
        flat = np.frombuffer(payload, "<f4")
    elif header.format == "s16":
        flat = np.frombuffer(payload, "<i2").astype(np.float32) / np.float32(2**15)
    elif header.format == "s24":
        wide = np.zeros((len(payload) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(payload, np.uint8).reshape(-1, 3)
        flat = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    else:
        raise WireError("bad_value", f"the payload is {header.format}, which needs a decoder", "format")
    return np.ascontiguousarray(flat.reshape(-1, header.channels).T)
