"""The memory that plugin and bridge share, as the bridge sees it; examples/plugin/segment.hpp is the same in C++.

Order matters where two processes share memory without locks. Each index is stored by one side only, after what it
stands for. An aligned 8-byte value is stored and loaded by one instruction: `memoryview` copies its items as wholes.
x86 keeps stores and loads in order. Other processors may not, and Python has no fence; so between an index and what it
stands for `_fence` takes and gives back a lock twice. Both are atomic operations with acquire and release order, which
nothing can pass in both directions.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from safa_stream.errors import FailureError
from safa_stream.types import FloatArray

MAGIC, VERSION = b"SAFAPLUG", 1
FRAMES, EVENTS, TEXT = 1 << 18, 1 << 12, 1 << 16

CONNECTING, PLAYING, AWAY = 1, 2, 3
PARAMETER, TRANSPORT, JUMP, TEMPO = 1, 2, 3, 4

_HEAD = struct.Struct("<8s5I")
_PROCESS_AT = 12
_EVENT = struct.Struct("<Q2I3d")
_EVENTS_AT, _FROM_PLUGIN_AT, _FROM_BRIDGE_AT, _SOUND_AT = 256, 164_096, 229_696, 295_296
_TEXT_HEAD = 64
SIZE = _SOUND_AT + 8 * FRAMES

# Places of 8-byte and of 4-byte values.
_READ, _EVENTS_WRITTEN, _PROCESSED, _UNDERRUNS, _MISSING = 8, 9, 10, 11, 12
_RATE, _LEAD, _LATENCY, _ACTIVE = 26, 27, 28, 29
_WRITTEN, _EVENTS_READ, _DISCARD, _ALIVE, _LATE, _TEXT_TAKEN = 16, 17, 18, 19, 22, 23
_FED_RATE, _ATTACHED, _STATUS, _RESTING = 40, 41, 42, 43
_SESSION = slice(192, 256)

_lock = threading.Lock()


class SegmentError(FailureError):
    """A file that is no segment, or one that another bridge serves."""


@dataclass(frozen=True, slots=True)
class PluginEvent:
    """Something that happened in the host. index: the ring's frame that the plugin delivered next; see segment.hpp."""

    index: int
    kind: int
    which: int
    a: float
    b: float = 0.0
    c: float = 0.0


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """What the plugin counts. read, processed, missing: frames; rate: Hz; lead, latency: frames."""

    read: int
    processed: int
    underruns: int
    missing: int
    rate: int
    lead: int
    latency: int
    active: bool


class Segment:
    """See the module. The bridge's side; one thread."""

    def __init__(self, memory: memoryview) -> None:
        """Raises SegmentError for what is no segment of this version."""
        if memory.nbytes < _HEAD.size:
            raise SegmentError("it is no plugin's segment: too short")
        magic, version, _, *sizes = _HEAD.unpack_from(memory)
        if magic != MAGIC:
            raise SegmentError("it is no plugin's segment")
        if version != VERSION:
            raise SegmentError(f"the plugin speaks version {version}, this bridge {VERSION}: build the plugin anew")
        if memory.nbytes != SIZE or sizes != [FRAMES, EVENTS, TEXT]:
            raise SegmentError(f"the segment has {memory.nbytes} bytes where version {VERSION} has {SIZE}")
        self._bytes = memory
        self._wide = memory[:256].cast("Q")
        self._narrow = memory[:256].cast("I")
        self._sound = np.frombuffer(memory[_SOUND_AT:], np.float32).reshape(FRAMES, 2)
        self._read_text = 0

    @property
    def process(self) -> int:
        """The plugin's process."""
        return int(self._narrow[_PROCESS_AT // 4])

    @property
    def written(self) -> int:
        """Frames given since the beginning."""
        return int(self._wide[_WRITTEN])

    @property
    def session(self) -> str:
        """The session's id, empty before there is one."""
        return bytes(self._bytes[_SESSION]).rstrip(b"\0").decode("ascii", "replace")

    @property
    def status(self) -> int:
        """CONNECTING, PLAYING or AWAY."""
        return int(self._narrow[_STATUS])

    @property
    def late(self) -> int:
        """Commands that came after their sample."""
        return int(self._wide[_LATE])

    def plugin(self) -> PluginStatus:
        """The plugin's own values. Events that came before its `read` are found by `events` after this."""
        wide, narrow = self._wide, self._narrow
        found = PluginStatus(
            # A plugin that waits has not seen yet that what lies there is not to be heard.
            max(int(wide[_READ]), int(wide[_DISCARD])),
            int(wide[_PROCESSED]),
            int(wide[_UNDERRUNS]),
            int(wide[_MISSING]),
            int(narrow[_RATE]),
            int(narrow[_LEAD]),
            int(narrow[_LATENCY]),
            bool(narrow[_ACTIVE]),
        )
        _fence()
        return found

    def attach(self, number: int) -> None:
        """Begin to serve the plugin: it then says all that it has to say anew. number: not 0, not the last one."""
        self._wide[_EVENTS_READ] = self._wide[_EVENTS_WRITTEN]
        self._narrow[_STATUS] = CONNECTING
        _fence()
        self._narrow[_ATTACHED] = number

    def events(self) -> Iterator[PluginEvent]:
        """What happened since the last call."""
        written = int(self._wide[_EVENTS_WRITTEN])
        _fence()
        for number in range(int(self._wide[_EVENTS_READ]), written):
            yield PluginEvent(*_EVENT.unpack_from(self._bytes, _EVENTS_AT + number % EVENTS * _EVENT.size))
        _fence()
        self._wide[_EVENTS_READ] = written

    def write(self, frames: FloatArray) -> None:
        """Give frames [N, 2]. Raises SegmentError where there is no room: more came than was asked for."""
        written, count = self.written, len(frames)
        if written + count - int(self._wide[_READ]) > FRAMES:
            raise SegmentError("more sound came than was asked for")
        at = written % FRAMES
        first = min(count, FRAMES - at)
        self._sound[at : at + first] = frames[:first]
        self._sound[: count - first] = frames[first:]
        _fence()
        self._wide[_WRITTEN] = written + count

    def cut(self, rate: int) -> None:
        """What was given is not to be heard any more; what follows has this rate, in Hz, and begins anew."""
        self._narrow[_FED_RATE] = 0
        _fence()
        self._wide[_DISCARD] = self._wide[_WRITTEN]
        _fence()
        self._narrow[_FED_RATE] = rate

    def tell(self, status: int, session: str | None = None, resting: bool = False, late: int = 0) -> None:
        """Say how things are. resting: the session stands, so running dry is no fault; late: more late commands."""
        if session is not None:
            self._bytes[_SESSION] = session.encode("ascii", "replace")[:63].ljust(64, b"\0")
        self._narrow[_RESTING] = int(resting)
        self._wide[_LATE] = self.late + late
        _fence()
        self._narrow[_STATUS] = status

    def beat(self) -> None:
        """Say that the bridge lives."""
        self._wide[_ALIVE] = (int(self._wide[_ALIVE]) + 1) & (2**64 - 1)

    def states(self) -> dict[str, str] | None:
        """What the host has set, where it has set anything since the last call."""
        found = self._text(_FROM_PLUGIN_AT, self._read_text)
        if found is None:
            return None
        self._read_text, text = found
        parts = text.split("\0")
        return dict(zip(parts[::2], parts[1::2], strict=False))

    @property
    def states_taken(self) -> bool:
        """Whether a bridge carried out what the host set last, so that `scene` is newer."""
        return int(self._wide[_TEXT_TAKEN]) == int(struct.unpack_from("<Q", self._bytes, _FROM_PLUGIN_AT)[0])

    def scene(self) -> str | None:
        """What `tell_scene` said last, by this bridge or the one before."""
        found = self._text(_FROM_BRIDGE_AT, 0)
        return None if found is None else found[1]

    def tell_scene(self, text: str) -> None:
        """Give the plugin what a project is to hold. Raises SegmentError where it is too long."""
        data = text.encode()
        if len(data) >= TEXT:
            raise SegmentError(f"the scene has {len(data)} bytes as JSON, a project can hold {TEXT - 1}")
        number = struct.unpack_from("<Q", self._bytes, _FROM_BRIDGE_AT)[0]
        head = self._bytes[_FROM_BRIDGE_AT : _FROM_BRIDGE_AT + 8].cast("Q")
        head[0] = number + 1
        _fence()
        struct.pack_into("<I", self._bytes, _FROM_BRIDGE_AT + 8, len(data))
        begin = _FROM_BRIDGE_AT + _TEXT_HEAD
        self._bytes[begin : begin + len(data)] = data
        _fence()
        head[0] = number + 2
        _fence()
        self._wide[_TEXT_TAKEN] = self._read_text

    def _text(self, place: int, seen: int) -> tuple[int, str] | None:
        """A text's number and the text; None where there is none newer than `seen`, or it is being written."""
        head = self._bytes[place : place + 8].cast("Q")
        number = int(head[0])
        if number == seen or number % 2:
            return None
        _fence()
        length = min(struct.unpack_from("<I", self._bytes, place + 8)[0], TEXT)
        data = bytes(self._bytes[place + _TEXT_HEAD : place + _TEXT_HEAD + length])
        _fence()
        return (number, data.decode("utf-8", "replace")) if int(head[0]) == number else None


def _fence() -> None:
    for _ in range(2):
        with _lock:
            pass
