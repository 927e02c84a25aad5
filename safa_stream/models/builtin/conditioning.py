"""From sounds and styles to the vector that the denoiser is told: the numpy twin of networks.ConditionEncoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safa_stream.models.builtin.features import Array
from safa_stream.models.builtin.weights import Weights


def silu(x: Array) -> Array:
    """x times its logistic function."""
    return np.asarray(x / (1.0 + np.exp(-x)), np.float32)


@dataclass(frozen=True, slots=True)
class Component:
    """One sound of a scene: its number among the model's sounds, its style [S] or None, its share of the scene."""

    sound: int
    style: Array | None
    weight: float


@dataclass(frozen=True, slots=True)
class StyleBank:
    """Passages of training recordings: styles [R, S], sounds [R], semantics [R, M] of their captions, shares [R]."""

    styles: Array
    sounds: Array
    semantics: Array
    shares: Array

    def draw(self, sound: int, semantic: Array, generator: np.random.Generator, sharpness: float = 3.0) -> Array:
        """The style of a passage of `sound`, likelier the better its recording's caption fits the prompt's meaning."""
        rows = np.flatnonzero(self.sounds == sound)
        fit = np.log(self.shares[rows] + 1e-9) + sharpness * (self.semantics[rows] @ semantic)
        odds = np.exp(fit - fit.max())
        return np.asarray(self.styles[generator.choice(rows, p=odds / odds.sum())], np.float32)


class ConditionEncoder:
    """Evaluates the trained encoder for one scene at a time."""

    def __init__(self, weights: Weights) -> None:
        tensors = weights.under("conditioner.")
        self.embedding, self.null = tensors["embedding.weight"], tensors["null"]
        self.first = (tensors["first.weight"].T, tensors["first.bias"])
        self.second = (tensors["second.weight"].T, tensors["second.bias"])
        self.mean, self.scale = weights.tensors["styles.mean"], weights.tensors["styles.scale"]

    def __call__(self, components: list[Component]) -> Array:
        """The condition vector [D]; without components the unconditional one."""
        if not components:
            return self.null
        total = sum(component.weight for component in components)
        out = np.zeros_like(self.null)
        for component in components:
            embedded = self.embedding[component.sound]
            given = component.style is not None
            normal = (component.style - self.mean) / self.scale if component.style is not None else 0.0 * self.mean
            features = np.concatenate([embedded, normal, [np.float32(given)]]).astype(np.float32)
            hidden = silu(features @ self.first[0] + self.first[1])
            out = out + (component.weight / total) * (embedded + hidden @ self.second[0] + self.second[1])
        return np.asarray(out, np.float32)
