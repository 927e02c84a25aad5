"""The decoder's chance: white noise, and heights of pulses, keyed by seed and absolute token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safa_stream.models.builtin.features import BANDS, FOLD, SAMPLES_PER_TOKEN, Array

#: Pulses: one a millisecond.
PULSE_SAMPLES = 48
#: Tokens that are drawn together.
BLOCK = 8
_MASK = 0xFFFF_FFFF_FFFF_FFFF
#: Mixed into the seed, so that no other part of the program draws the same numbers.
STREAM = 0x5AFA_DEC0


@dataclass(frozen=True, slots=True)
class Excitation:
    """White noise for T tokens, all of unit variance: `steady` [2, N] (mid, side), `detail` [J, B], and the `heights`
    [T, 41] of each token's pulses, one a millisecond, after the last one before it."""

    steady: Array
    heights: Array
    detail: Array


def excitation(seed: int, first_token: int, count: int) -> Excitation:
    """The noise of `count` tokens from `first_token` on; every token's share depends on nothing but (seed, token)."""
    per_token = SAMPLES_PER_TOKEN // PULSE_SAMPLES
    steady = np.empty((2, count, SAMPLES_PER_TOKEN), np.float32)
    heights = np.empty((1 + count, per_token), np.float32)
    detail = np.empty((count, FOLD * BANDS), np.float32)
    # From the token before the first on, whose last pulse still sounds.
    for block in range((first_token - 1) // BLOCK, (first_token + count - 1) // BLOCK + 1):
        drawn = _drawn(seed, block, per_token + (2 * SAMPLES_PER_TOKEN + FOLD * BANDS))
        begin = block * BLOCK - first_token
        for row in range(max(0, -1 - begin), min(BLOCK, count - begin)):
            token, place = drawn[row], begin + row
            heights[place + 1] = token[:per_token]
            if place >= 0:
                steady[:, place] = token[per_token : per_token + 2 * SAMPLES_PER_TOKEN].reshape(2, -1)
                detail[place] = token[per_token + 2 * SAMPLES_PER_TOKEN :]
    before = heights[:-1, -1:]
    return Excitation(steady.reshape(2, -1), np.concatenate([before, heights[1:]], axis=1), detail.reshape(-1, BANDS))


def _drawn(seed: int, block: int, size: int) -> Array:
    """[BLOCK, size] normal numbers of a block of tokens: drawn together, as a generator costs as much as a token."""
    counter = np.array([0, 0, block & _MASK, 0], np.uint64)
    generator = np.random.Generator(np.random.Philox(counter=counter, key=np.array([seed & _MASK, STREAM], np.uint64)))
    return generator.standard_normal((BLOCK, size), np.float32)
