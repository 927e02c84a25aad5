"""The shelves of the mixer, held against the recursion that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safa_stream.session import mixing
from safa_stream.session.strips import Strip
from safa_stream.types import DoubleArray
from tests.session.desk import RATE, noise, played, rms, sine


def shelf_reference(samples: DoubleArray, kind: str, decibels: DoubleArray) -> DoubleArray:
    """The shelf sample by sample: two biquads (band pass and low or high pass), their shares as the gain says."""
    w = 2 * np.pi * (250.0 if kind == "low" else 4000.0) / RATE
    alpha, cosine = np.sin(w) / np.sqrt(2), np.cos(w)
    a = np.array([1 + alpha, -2 * cosine, 1 - alpha])
    band = np.sqrt(2) * np.array([np.sin(w) / 2, 0.0, -np.sin(w) / 2])
    low = (1 - cosine) / 2 * np.array([1.0, 2.0, 1.0])
    high = (1 + cosine) / 2 * np.array([1.0, -2.0, 1.0])
    wet = []
    for b in (band, low if kind == "low" else high):
        out = np.zeros(len(samples) + 2)
        x = np.concatenate([[0.0, 0.0], samples])
        for n in range(2, len(x)):
            out[n] = (b @ x[n - 2 : n + 1][::-1] - a[1] * out[n - 1] - a[2] * out[n - 2]) / a[0]
        wet.append(out[2:])
    root = 10 ** (decibels / 40)
    return np.asarray(samples + (root - 1) * wet[0] + (root**2 - 1) * wet[1])


class TestShelves:
    @pytest.mark.parametrize(("kind", "decibels"), [("low", 12.0), ("low", -24.0), ("high", 12.0), ("high", -9.0)])
    def test_they_are_the_recursion_sample_by_sample(self, kind: str, decibels: float) -> None:
        sound = noise(3000)
        strip: dict[str, Any] = {kind: decibels}
        _, out = played(mixing.begin(RATE, {0: Strip(**strip)}), {0: sound})
        expected = shelf_reference(sound[1].astype(np.float64), kind, np.full(3000, decibels))
        assert np.abs(out[1] - expected).max() < 1e-6

    @pytest.mark.parametrize("kind", ["low", "high"])
    def test_a_gain_that_moves_is_followed_at_every_sample(self, kind: str) -> None:
        sound = noise(3000)
        sound[:, :500] = 0
        strip: dict[str, Any] = {kind: 12.0}
        state, first = mixing.mix(mixing.begin(RATE, {0: Strip()}), {0: sound[:, :500]})
        _, second = mixing.mix(mixing.set_strip(state, 0, Strip(**strip), 1440), {0: sound[:, 500:]})
        root = 1 + (10 ** (12 / 40) - 1) * np.clip((np.arange(3000) - 500) / 1440, 0, 1)
        expected = shelf_reference(sound[0].astype(np.float64), kind, 40 * np.log10(root))
        assert np.abs(np.concatenate([first, second], axis=1)[0] - expected).max() < 1e-6

    @pytest.mark.parametrize("decibels", [-24.0, -6.0, 6.0, 24.0])
    def test_they_lift_and_cut_where_they_should(self, decibels: float) -> None:
        for strip, frequencies in ((Strip(low=decibels), (20, 250, 6000)), (Strip(high=decibels), (20_000, 4000, 200))):
            gains = []
            for frequency in frequencies:
                tone = sine(24_000, frequency, 0.01)
                _, out = played(mixing.begin(RATE, {0: strip}), {0: tone})
                gains.append(20 * np.log10(rms(out[:, 12_000:]) / rms(tone[:, 12_000:])))
            assert gains[0] == pytest.approx(decibels, abs=0.3)
            assert gains[1] == pytest.approx(10 * np.log10((1 + 10 ** (decibels / 10)) / 2), abs=0.1)
            assert gains[2] == pytest.approx(0, abs=0.5)

    def test_what_is_left_of_an_old_sound_becomes_nothing(self) -> None:
        state, _ = mixing.mix(mixing.begin(RATE, {0: Strip(low=12, high=12)}), {0: noise(960)})
        for _ in range(100):
            state, out = mixing.mix(state, {}, 960)
        assert not out.any()
        assert not state.filters["low"].memory.any() and not state.filters["high"].memory.any()
