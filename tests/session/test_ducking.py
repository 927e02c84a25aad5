"""Layers that sink while another one is loud."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from safa_stream.session import mixing
from safa_stream.session.shelves import SEGMENT
from safa_stream.session.strips import Strip
from safa_stream.types import FloatArray
from tests.session.desk import RATE, noise, played, sine


class TestDucking:
    def ducked(self, sidechain: FloatArray, strip: Strip, other: Strip | None = None) -> FloatArray:
        """Gain of a layer of constant sound while another one plays."""
        state = mixing.begin(RATE, {0: strip, 1: other or Strip()})
        quiet = np.zeros_like(sidechain)
        ones = np.ones_like(sidechain)
        _, both = played(state, {0: ones, 1: sidechain})
        _, alone = played(
            mixing.begin(RATE, {0: replace(strip, duck=0, duck_by=None), 1: other or Strip()}), {0: quiet, 1: sidechain}
        )
        return np.asarray(both[0] - alone[0])

    @pytest.mark.parametrize(("decibels", "expected"), [(-10, -12.0), (-29, -12.0), (-36, -6.0), (-90, 0.0)])
    def test_its_depth_follows_the_sidechain(self, decibels: float, expected: float) -> None:
        gain = self.ducked(sine(24_000, 1000, 10 ** (decibels / 20) * np.sqrt(2)), Strip(duck=12, duck_by=1))
        assert 20 * np.log10(gain[12_000:].mean()) == pytest.approx(expected, abs=0.35)

    def test_it_sets_in_within_20_and_lets_go_within_400_milliseconds(self) -> None:
        sidechain = noise(72_000, decibels=-10)
        sidechain[:, 24_000:] = 0
        share = np.log10(self.ducked(sidechain, Strip(duck=20, duck_by=1))) / -1
        assert share[960 + SEGMENT] == pytest.approx(1 - np.exp(-1), abs=0.05)
        assert share[20_000] == pytest.approx(1, abs=0.01)
        assert share[24_000 + 19_200 + SEGMENT] == pytest.approx(np.exp(-1), abs=0.02)

    def test_the_sidechain_counts_as_it_is_mixed(self) -> None:
        loud = noise(9600, decibels=-10)
        for other in (Strip(mute=True), Strip(gain=-90)):
            assert np.allclose(self.ducked(loud, Strip(duck=40, duck_by=1), other), 1, atol=1e-6)
        raised = self.ducked(noise(24_000, decibels=-50), Strip(duck=20, duck_by=1), Strip(gain=24))
        assert raised[-1] < 0.15

    def test_two_layers_can_duck_each_other(self) -> None:
        sounds = {0: noise(24_000, 0), 1: noise(24_000, 1)}
        state = mixing.begin(RATE, {0: Strip(duck=20, duck_by=1), 1: Strip(duck=20, duck_by=0)})
        _, out = played(state, sounds)
        assert np.allclose(out[:, 12_000:], 0.1 * (sounds[0] + sounds[1])[:, 12_000:], atol=1e-2)

    def test_a_sidechain_that_is_not_there_is_silent(self) -> None:
        state = mixing.begin(RATE, {0: Strip(duck=20, duck_by=1), 1: Strip()})
        state, _ = played(state, {0: noise(9600), 1: noise(9600, 1)})
        _, out = played(mixing.remove(state, 1), {0: np.ones((2, 96_000), np.float32)})
        assert out[0, 0] < 0.15 and out[0, -1] > 0.98
