"""What a layer is told, frame by frame: a list of turns, each of which fades out all before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from safa_stream.models.interface import Encoded
from safa_stream.scene import WeightedPrompt
from safa_stream.types import DoubleArray


@dataclass(frozen=True, slots=True)
class Goal:
    """What a layer is to be told: prompts, what to keep away from, and the seed that both are encoded with."""

    prompts: tuple[WeightedPrompt, ...]
    negative: tuple[WeightedPrompt, ...]
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """From frame `at` on, over `morph` frames (0: at once), towards these prompts. `told`: their encoding."""

    at: float
    morph: float
    prompts: tuple[WeightedPrompt, ...]
    negative: tuple[WeightedPrompt, ...]
    seed: int
    told: Encoded

    @property
    def goal(self) -> Goal:
        """Where it goes."""
        return Goal(self.prompts, self.negative, self.seed)

    def share(self, frames: DoubleArray) -> DoubleArray:
        """At every frame: 0 before the turn, 1 once it has arrived."""
        since = frames - self.at
        return np.where(since < 0, 0.0, np.clip(since / self.morph, 0.0, 1.0) if self.morph > 0 else 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Turns in order of time. While `held_at` is a frame, time stands still there."""

    turns: tuple[Turn, ...]
    held_at: float | None = None

    @property
    def last(self) -> Turn:
        """Where it all goes."""
        return self.turns[-1]

    def weights(self, frame: float) -> list[tuple[Turn, float]]:
        """Turns that are heard at a frame and their weights, which sum to 1."""
        return [(turn, float(weights[0])) for turn, weights in self.course(np.array([frame]))]

    def course(self, frames: DoubleArray) -> list[tuple[Turn, DoubleArray]]:
        """Turns that are heard at any of some frames [N] and their weights at each [N], which sum to 1 there."""
        at = frames if self.held_at is None else np.minimum(frames, self.held_at)
        found, left = [], np.ones(len(frames))
        for turn in reversed(self.turns[1:]):
            share = turn.share(at)
            found.append((turn, left * share))
            left = left * (1 - share)
            if not left.any():
                break
        found.append((self.turns[0], left))
        return [(turn, weights) for turn, weights in reversed(found) if weights.any()]

    def turned(self, turn: Turn) -> Timeline:
        """With one more turn; those that were to begin with it or later are given up."""
        return replace(self, turns=(self.turns[0], *(t for t in self.turns[1:] if t.at < turn.at), turn))

    def held(self, frame: float) -> Timeline:
        """Standing still from a frame on."""
        return self if self.held_at is not None else replace(self, held_at=frame)

    def released(self, frame: float) -> Timeline:
        """Going on at `frame` from where it was held: what had begun or was still to come is that much later."""
        if self.held_at is None:
            return self
        late = max(0.0, frame - self.held_at)
        return Timeline(_later(self.turns, self.held_at, late))

    def pruned(self, frame: float) -> Timeline:
        """Without turns that nothing at or after a frame can hear."""
        heard = {id(turn) for turn, _ in self.weights(frame)}
        return replace(self, turns=tuple(t for t in self.turns if id(t) in heard or t.at > frame))


def _later(turns: Sequence[Turn], held_at: float, late: float) -> tuple[Turn, ...]:
    """Turns that had not arrived when time was held begin `late` frames later; where they stood, they stand again."""
    return tuple(t if t.at + t.morph <= held_at else replace(t, at=t.at + late) for t in turns)
