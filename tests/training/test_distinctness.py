from __future__ import annotations

import numpy as np
import pytest

from safa_stream.training import distinctness as module
from safa_stream.training.distinctness import LEAST, PREFERENCE, distinctness, features, preference

#: Five recordings of each of two sounds, eight passages each. Every fourth passage is like those of the other sound.
SOUNDS = np.repeat([0, 1], 40)
RECORDINGS = np.repeat(np.arange(10), 8)
COMMON = np.arange(80) % 4 == 3


def rows(seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    own = np.where(COMMON, 0.0, np.where(SOUNDS == 0, 4.0, -4.0))
    return (own[:, None] + draw.normal(size=(80, 6)) * 0.3).astype(np.float32)


def test_passages_that_only_one_sound_has_are_distinct() -> None:
    shares = distinctness(rows(), SOUNDS, RECORDINGS)
    assert shares.min() >= 0.0 and shares.max() <= 1.0
    assert shares[~COMMON].min() > shares[COMMON].max()
    preferred = preference(rows(), SOUNDS, RECORDINGS)
    assert np.allclose(preferred, (shares + LEAST) ** PREFERENCE)


def test_the_own_recording_says_nothing() -> None:
    alone = np.where(RECORDINGS < 5, 0, RECORDINGS)
    shares = distinctness(rows(), SOUNDS, alone)
    assert (shares[SOUNDS == 0] == 0).all() and (shares[SOUNDS == 1] > 0).any()
    assert (distinctness(rows(), SOUNDS, np.zeros(80, int)) == 0).all(), "one recording has no neighbours"


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = distinctness(rows(), SOUNDS, RECORDINGS)
    monkeypatch.setattr(module, "BLOCK", 5)
    assert np.allclose(distinctness(rows(), SOUNDS, RECORDINGS), whole)


def test_features_tell_level_spread_and_change_apart() -> None:
    draw = np.random.default_rng(1)
    fast = draw.normal(size=(160, 80)).astype(np.float32)
    slow = np.cumsum(fast, 0) / 10
    assert features(fast).shape == (120,) and features(fast[:1]).shape == (120,)
    assert np.abs(features(fast + 1)[:40] - features(fast)[:40] - 1).max() < 1e-5
    assert features(slow)[80:].mean() < features(fast)[80:].mean() - 1
