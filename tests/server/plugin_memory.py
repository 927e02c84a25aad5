"""A plugin's side of the shared memory, without a plugin: what segment.hpp does, in a few lines."""

from __future__ import annotations

import struct

import numpy as np

from safa_server.bridge import segment as s
from safa_stream.types import FloatArray


class PluginMemory:
    """A segment that a plugin of this process would have made."""

    def __init__(self, process: int, version: int = s.VERSION) -> None:
        self.memory = bytearray(s.SIZE)
        struct.pack_into("<8s5I", self.memory, 0, s.MAGIC, version, process, s.FRAMES, s.EVENTS, s.TEXT)
        self.wide = memoryview(self.memory)[:256].cast("Q")
        self.narrow = memoryview(self.memory)[:256].cast("I")

    def segment(self) -> s.Segment:
        """The bridge's view of it."""
        return s.Segment(memoryview(self.memory))

    def play(self, rate: int = 48_000, lead: int = 9600, latency: int = 15_360) -> None:
        """As after `activate`."""
        self.narrow[26:30] = memoryview(np.array([rate, lead, latency, 1], np.uint32))

    def read(self, count: int) -> FloatArray:
        """Take frames [count, 2] out of the ring."""
        at = self.wide[8]
        sound = np.frombuffer(self.memory, np.float32, offset=s.SIZE - 8 * s.FRAMES).reshape(-1, 2)
        self.wide[8] = at + count
        return sound[np.arange(at, at + count) % s.FRAMES]

    def push(self, *fields: float) -> None:
        """An event: index, kind, which, a, b, c."""
        number = self.wide[9]
        struct.pack_into("<Q2I3d", self.memory, 256 + number % s.EVENTS * 40, *fields)
        self.wide[9] = number + 1

    def set_states(self, **states: str) -> None:
        """As when the host loads a project."""
        data = "".join(f"{key}\0{value}\0" for key, value in states.items()).encode()
        place = 164_096
        number = struct.unpack_from("<Q", self.memory, place)[0]
        struct.pack_into("<QI", self.memory, place, number + 2, len(data))
        self.memory[place + 64 : place + 64 + len(data)] = data
