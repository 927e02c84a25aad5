"""Every sample that a listener was sent, accounted for by sequence and sample numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Account:
    """Frames in the order that they came, of one listener, however often it reconnected.

    missing, duplicated: samples that never came, that came again; disagreements: frames whose sequence number and whose
    first sample do not say the same; next_sequence, next_start: what has to come next.
    """

    frames: int = 0
    samples: int = 0
    missing: int = 0
    duplicated: int = 0
    disagreements: int = 0
    next_sequence: int | None = None
    next_start: int = 0

    @property
    def last(self) -> int | None:
        """The latest frame's sequence number, None before the first."""
        return None if self.next_sequence is None else self.next_sequence - 1

    def take(self, sequence: int, start: int, count: int) -> None:
        """One frame of `count` samples a channel; frames of a stream are equally long."""
        if self.next_sequence is None:
            self.next_sequence, self.next_start = sequence, start
        gap = start - self.next_start
        self.disagreements += (sequence - self.next_sequence) * count != gap
        self.missing += max(0, gap)
        self.duplicated += min(count, max(0, -gap))
        self.frames += 1
        self.samples += count
        self.next_sequence = max(self.next_sequence, sequence + 1)
        self.next_start = max(self.next_start, start + count)

    def forget(self) -> None:
        """What comes next need not follow: the listener left out what was between on purpose."""
        self.next_sequence = None
