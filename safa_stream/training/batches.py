"""Training examples from a feature file: windows, augmentation, mixtures of two sounds, styles and contexts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safa_stream.corpus.split import Passage
from safa_stream.models.builtin.features import BANDS, FOLD, SIDE_BANDS, Array, LatentMap
from safa_stream.models.builtin.style import STYLE_SIZE, describe
from safa_stream.training.prepare import Prepared

#: Latents of the shortest example, 0.64 s.
SHORTEST_PASSAGE = 16
MIXTURE_SHARE = 0.25
UNCONDITIONAL_SHARE = 0.1
UNSTYLED_SHARE = 0.15
CONTEXT_SHARE = 0.5
TWO_SIDED_SHARE = 0.15
SHIFT_SHARE = 0.3
CONTEXT_NOISE = 0.1
#: Noise levels t ~ sigmoid(N(LEVEL_MEAN, LEVEL_SPREAD)); x_t = (1 - t) x + t noise (rectified flow, Liu et al. 2022).
LEVEL_MEAN, LEVEL_SPREAD = 0.3, 1.1


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples of T frames of K latents, each of up to two sounds.

    clean, noise, context [B, T, K]; level [B] in 0..1; valid, known [B, T]; sounds [B, 2, labels]; styles [B, 2, S];
    styled, weights [B, 2]; conditional [B].
    """

    clean: Array
    noise: Array
    level: Array
    context: Array
    valid: Array
    known: Array
    sounds: Array
    styles: Array
    styled: Array
    weights: Array
    conditional: Array


def usable_passages(prepared: Prepared, held_out: bool) -> list[Passage]:
    """The passages of one side of the split that are long enough to be an example."""
    return [p for p in prepared.chosen(held_out) if p.stop - p.start >= SHORTEST_PASSAGE]


class Sampler:
    """Draws batches; every class is heard about as often as the root of its length asks for."""

    def __init__(self, prepared: Prepared, length: int, held_out: bool, augment: bool, seed: int) -> None:
        self.prepared = prepared
        self.length = length
        self.augment = augment
        self.seed = seed
        self.generator = np.random.default_rng(seed)
        self.passages = usable_passages(prepared, held_out)
        per_label = np.zeros(len(prepared.labels))
        for p in self.passages:
            per_label[p.label] += p.stop - p.start
        share = np.array([(p.stop - p.start) * per_label[p.label] ** -0.5 for p in self.passages])
        self.share = share / share.sum()

    def window(self, passage: Passage) -> Array:
        """A random stretch of at most `length` latents."""
        room = passage.stop - passage.start - self.length
        start = passage.start + (int(self.generator.integers(0, room + 1)) if room > 0 else 0)
        return self.prepared.latents[start : min(start + self.length, passage.stop)]

    def batch(self, size: int, step: int = 0) -> Batch:
        """Draw the `size` examples of a training step: the same ones whenever this step is asked for."""
        self.generator = np.random.default_rng([self.seed, step])
        labels, latent = len(self.prepared.labels), self.prepared.latents.shape[1]
        draw = self.generator
        clean = np.zeros((size, self.length, latent), np.float32)
        valid = np.zeros((size, self.length), np.float32)
        sounds = np.zeros((size, 2, labels), np.float32)
        styles = np.zeros((size, 2, STYLE_SIZE), np.float32)
        weights = np.zeros((size, 2), np.float32)
        for row in range(size):
            first, second = (self.passages[i] for i in draw.choice(len(self.passages), 2, p=self.share))
            window = self._augmented(self.window(first))
            sounds[row, 0, first.label], weights[row, 0] = 1.0, 1.0
            styles[row, 0] = describe(window)
            if draw.random() < MIXTURE_SHARE and first.label != second.label:
                other = self._augmented(self.window(second))
                shared = min(len(window), len(other))
                window, other = window[:shared], other[:shared]
                level = float(np.exp(draw.uniform(np.log(0.25), 0.0)))
                sounds[row, 1, second.label] = 1.0
                styles[row, 1] = describe(other)
                weights[row] = np.array([1.0, level]) / (1.0 + level)
                window = mix(self.prepared.latent_map, window, other, level)
            clean[row, : len(window)] = window
            valid[row, : len(window)] = 1.0
        known = self._known(valid)
        context = (clean + draw.normal(size=clean.shape) * CONTEXT_NOISE * draw.random((size, 1, 1))) * known[..., None]
        styled = (draw.random((size, 1)) >= UNSTYLED_SHARE).astype(np.float32) * np.ones((1, 2), np.float32)
        conditional = (draw.random(size) >= UNCONDITIONAL_SHARE).astype(np.float32)
        levels = 1.0 / (1.0 + np.exp(-draw.normal(LEVEL_MEAN, LEVEL_SPREAD, size)))
        noise = draw.standard_normal(clean.shape, np.float32)
        return Batch(
            clean,
            noise,
            levels.astype(np.float32),
            context.astype(np.float32),
            valid,
            known,
            sounds,
            styles,
            styled,
            weights,
            conditional,
        )

    def _known(self, valid: Array) -> Array:
        """Which frames the network is told: nothing, a beginning, or a beginning and an end."""
        known = np.zeros_like(valid)
        for row, filled in enumerate(valid.sum(1).astype(int)):
            kind = self.generator.random()
            if kind < CONTEXT_SHARE and filled >= 48:
                known[row, : self.generator.integers(8, min(80, filled // 2 + 8))] = 1.0
                if kind < CONTEXT_SHARE * TWO_SIDED_SHARE and filled >= 100:
                    known[row, filled - self.generator.integers(8, 40) : filled] = 1.0
        return known

    def _augmented(self, window: Array) -> Array:
        """A random level, a random smooth equaliser and sometimes a shift of all pitches."""
        if not self.augment:
            return window
        draw, latent_map = self.generator, self.prepared.latent_map
        position = np.linspace(0.0, 1.0, BANDS)
        waves = [np.cos(np.pi * k * position + draw.uniform(0, 2 * np.pi)) for k in (1, 2, 3)]
        curve = draw.normal(0, 0.25, 3) @ waves + draw.normal(0, 0.4)
        offset = np.concatenate([np.tile(curve, FOLD), np.full(SIDE_BANDS, draw.normal() * 0.3)]).astype(np.float32)
        if draw.random() < SHIFT_SHARE:
            token = latent_map.decode(window)
            mid = token[:, : FOLD * BANDS].reshape(-1, BANDS)
            moved = position * (BANDS - 1) + draw.uniform(-2.5, 2.5)
            lower = np.clip(np.floor(moved).astype(int), 0, BANDS - 2)
            part = np.clip(moved - lower, 0.0, 1.0).astype(np.float32)
            shifted = mid[:, lower] * (1 - part) + mid[:, lower + 1] * part
            window = latent_map.encode(
                np.concatenate([shifted.reshape(-1, FOLD * BANDS), token[:, FOLD * BANDS :]], axis=1)
            )
        return window + offset @ latent_map.forward


def mix(latent_map: LatentMap, first: Array, second: Array, level: float) -> Array:
    """Latents of two sounds together, the second at amplitude `level`: powers add, sides add with their mids."""
    a, b = latent_map.decode(first), latent_map.decode(second)
    mids = FOLD * BANDS
    gain = 2.0 * np.log(max(level, 1e-4))
    mid = np.logaddexp(a[:, :mids], b[:, :mids] + gain)
    groups = (len(a), FOLD, SIDE_BANDS, BANDS // SIDE_BANDS)
    share = 1.0 / (1.0 + np.exp(np.clip((b - a)[:, :mids].reshape(groups).mean((1, 3)) + gain, -30, 30)))
    side = np.log(share * np.exp(a[:, mids:]) + (1.0 - share) * np.exp(b[:, mids:]) + 1e-6)
    return latent_map.encode(np.concatenate([mid, side], axis=1).astype(np.float32))
