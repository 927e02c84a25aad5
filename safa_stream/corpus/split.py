"""Which passages of a folder of recordings are held out of training: by recording where a class has enough of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from safa_stream.corpus.recordings import Recording

#: Share of every class's duration that training never sees.
HELD_OUT = 0.18
#: A recording longer than this is told as one of several passages when its class has too few recordings to split.
MINIMUM_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of one recording: latents rows `start` to `stop`."""

    recording: int
    label: int
    start: int
    stop: int
    held_out: bool


def held_out_groups(seconds: dict[str, float]) -> set[str]:
    """The groups whose total is closest to the held-out share: at least one, at most half of them."""
    target = HELD_OUT * sum(seconds.values())
    best: dict[int, tuple[str, ...]] = {0: ()}
    for group, length in sorted(seconds.items()):
        for total, chosen in list(best.items()):
            reached = total + max(1, round(length))
            if len(chosen) < len(seconds) // 2 and reached not in best:
                best[reached] = (*chosen, group)
    best.pop(0)
    return set(best[min(best, key=lambda total: (abs(total - target), total))])


def split(recordings: list[Recording], lengths: list[int]) -> list[Passage]:
    """Cut the token sequence into training and held-out passages, by recording where the class has enough of them."""
    labels = sorted({r.label for r in recordings})
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    out = []
    for number, label in enumerate(labels):
        members = [i for i, r in enumerate(recordings) if r.label == label]
        seconds: dict[str, float] = defaultdict(float)
        for i in members:
            seconds[recordings[i].group] += lengths[i]
        if len(seconds) >= MINIMUM_GROUPS:
            held = held_out_groups(seconds)
            out += [
                Passage(i, number, int(offsets[i]), int(offsets[i + 1]), recordings[i].group in held) for i in members
            ]
        else:
            for i in members:
                cut = int(offsets[i] + round(lengths[i] * (1 - HELD_OUT)))
                out.append(Passage(i, number, int(offsets[i]), cut, False))
                out.append(Passage(i, number, cut, int(offsets[i + 1]), True))
    return out
