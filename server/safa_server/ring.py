"""A ring of frames between one thread that writes and one that reads, without locks.

The writer is the event loop, the reader a sound device's callback. Each value of the ring's state is stored by one of
the two only, and as one reference, so neither ever waits for the other or sees half a change. The reader copies into
the buffer it is given and makes nothing but views and numbers. It delivers frames unchanged, except around silence:
when frames run out the last one fades to zero, and the first ones after a silence fade in.
"""

from __future__ import annotations

import numpy as np

from safa_stream.errors import UsageError
from safa_stream.types import FloatArray

#: Frames of a fade: 5 ms at 48 kHz, too short to hear as a fade and too long to click.
FADE = 240


class Ring:
    """Frames [N, channels] of float32.

    capacity: frames that it holds at most. refill: frames that must be there before sound begins, at the start and
    after a silence, so that one gap does not become many; 0 begins with the first frame. fade_first: the very first
    frames fade in too; without it they are delivered as they are.

    States of the reader: silent (nothing was written yet, or the writer said `rest`), sounding, and starved (frames ran
    out although the writer had not said `rest`). Starving is an underrun; what is padded while starved is missing.
    """

    def __init__(self, capacity: int, channels: int, refill: int = 0, fade_first: bool = False) -> None:
        if capacity < 1 or channels < 1 or not 0 <= refill <= capacity:
            raise UsageError(f"a ring of {capacity} frames, {channels} channels, beginning at {refill}, cannot be")
        self.capacity, self.channels, self.refill = capacity, channels, refill
        self._frames = np.zeros((capacity, channels), np.float32)
        # Stored by the writer: frames written since the beginning, and whether it rests.
        self._published = (0, True)
        # Stored by the reader: frames taken, frames asked for, underruns, frames missing.
        self._taken = self._asked = self._underruns = self._missing = 0
        self._sounding = self._starved = False
        # Fades as wide as the frames, so that numpy needs no room for what it would have to repeat.
        falling = np.cos(np.linspace(0, np.pi / 2, FADE + 1, dtype=np.float32))[1:, None] ** 2
        self._fade_out = np.repeat(falling, channels, axis=1)
        self._fade_in = np.ascontiguousarray(self._fade_out[::-1])
        # How far the two fades are, the last frame that went out, and how it falls to zero.
        self._fallen, self._risen = FADE, 0 if fade_first else FADE
        self._end = np.zeros(channels, np.float32)
        self._tail = np.zeros((FADE, channels), np.float32)

    @property
    def filled(self) -> int:
        """Frames that can be read. Any thread; already more or fewer when the other side has gone on."""
        return self._published[0] - self._taken

    @property
    def written(self) -> int:
        """Frames accepted since the beginning. Any thread."""
        return self._published[0]

    @property
    def taken(self) -> int:
        """Frames delivered since the beginning. Any thread."""
        return self._taken

    @property
    def asked(self) -> int:
        """Frames that the reader asked for since the beginning, delivered or padded: it grows while a device plays.

        Any thread.
        """
        return self._asked

    @property
    def underruns(self) -> int:
        """Times that frames ran out while they were expected. Any thread."""
        return self._underruns

    @property
    def missing(self) -> int:
        """Frames padded because of underruns. Any thread."""
        return self._missing

    def write(self, frames: FloatArray) -> int:
        """Append frames [N, channels]; the number accepted is less than N where the ring is full. Writer's thread."""
        written, _ = self._published
        accepted = min(len(frames), self.capacity - (written - self._taken))
        at = written % self.capacity
        first = min(accepted, self.capacity - at)
        self._frames[at : at + first] = frames[:first]
        self._frames[: accepted - first] = frames[first:accepted]
        # The frames are in place before the reader can learn of them.
        self._published = (written + accepted, False)
        return accepted

    def rest(self) -> None:
        """No more frames for now: what is there still sounds, then silence that is no underrun, until the next write.

        Writer's thread.
        """
        self._published = (self._published[0], True)

    def read_into(self, out: FloatArray) -> int:
        """Fill all of out [N, channels] and return the frames delivered; the others are the fade and zeros.

        Reader's thread: the device's callback.
        """
        written, resting = self._published
        wanted, there = len(out), written - self._taken
        self._asked += wanted
        if not self._sounding:
            if there == 0 or (there < self.refill and not resting):
                self._starved = self._starved and not resting
                self._pad(out)
                return 0
            self._sounding, self._starved = True, False
        delivered = min(wanted, there)
        self._deliver(out, delivered)
        if delivered < wanted:
            self._sounding, self._starved = False, not resting
            self._underruns += self._starved
            self._tail[:] = self._end
            self._tail *= self._fade_out
            self._fallen = 0
            self._pad(out[delivered:])
        return delivered

    def _deliver(self, out: FloatArray, count: int) -> None:
        if count == 0:
            return
        at = self._taken % self.capacity
        first = min(count, self.capacity - at)
        out[:first] = self._frames[at : at + first]
        out[first:count] = self._frames[: count - first]
        self._taken += count
        if self._risen < FADE:
            rising = min(count, FADE - self._risen)
            out[:rising] *= self._fade_in[self._risen : self._risen + rising]
            self._risen += rising
        if self._fallen < FADE:
            # The silence was shorter than the fade: its rest lies under the first frames.
            tail = self._fall(count)
            out[: len(tail)] += tail
        self._end[:] = out[count - 1]

    def _pad(self, out: FloatArray) -> None:
        tail = self._fall(len(out))
        out[: len(tail)] = tail
        out[len(tail) :] = 0.0
        if self._starved:
            self._missing += len(out)
        if self._taken:
            self._risen = 0

    def _fall(self, count: int) -> FloatArray:
        """At most `count` further frames of the fade to zero, as a view."""
        tail = self._tail[self._fallen : self._fallen + count]
        self._fallen += len(tail)
        return tail
