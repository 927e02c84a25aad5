"""What a layer is told, frame by frame: a list of turns, each of which fades out all before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from safa_stream.models.interface import Encoded
from safa_stream.scene import WeightedPrompt


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """From frame `at` on, over `morph` frames (0: at once), towards these prompts. `told`: their encoding."""

    at: float
    morph: float
    prompts: tuple[WeightedPrompt, ...]
    negative: tuple[WeightedPrompt, ...]
    seed: int
    told: Encoded

    def share(self, frame: float) -> float:
        """0 before it, 1 once it has arrived."""
        since = frame - self.at
        return 0.0 if since < 0 else 1.0 if since >= self.morph else since / self.morph


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
        at = frame if self.held_at is None else min(frame, self.held_at)
        weights = [1.0] + [0.0] * (len(self.turns) - 1)
        for index, turn in enumerate(self.turns[1:], start=1):
            share = turn.share(at)
            weights[:index] = [weight * (1 - share) for weight in weights[:index]]
            weights[index] = share
        return [(turn, weight) for turn, weight in zip(self.turns, weights, strict=True) if weight > 0]

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
