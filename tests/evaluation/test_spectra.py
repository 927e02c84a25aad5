"""Spectral measures on signals whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream.evaluation import spectra

RATE = 48_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def test_a_slow_tremolo_is_found_at_its_rate_and_depth() -> None:
    seconds = 12.0
    time = np.arange(int(seconds * RATE)) / RATE
    steady = noise(seconds)
    moving = (steady * (1.0 + 0.5 * np.sin(2 * np.pi * 4.0 * time))).astype(np.float32)
    spectrum = spectra.modulation_spectrum(spectra.log_mel(moving))
    rest = spectra.modulation_spectrum(spectra.log_mel(steady))
    added = spectrum - rest
    band = int(np.searchsorted(spectra.MODULATION_EDGES, 4.0, side="right")) - 1
    # 4 Hz is a band's edge: the Hann window leaks half of it into the band below.
    assert set(np.argsort(added)[-2:]) == {band - 1, band}
    assert added[band - 1 : band + 1].sum() == pytest.approx(0.5**2 / 2, rel=0.15)


def test_the_modulation_error_of_doubled_power_is_three_decibels() -> None:
    real = np.linspace(0.01, 0.1, 11)
    assert spectra.modulation_error(2.0 * real, real) == pytest.approx(3.01, abs=0.01)
    assert spectra.modulation_error(real, real) == 0.0


def test_crest_factors_of_a_sine_a_square_and_a_click() -> None:
    time = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 100 * time).astype(np.float32)
    assert spectra.crest_factor(sine) == pytest.approx(np.sqrt(2), rel=1e-3)
    assert spectra.crest_factor(np.sign(np.sin(2 * np.pi * 100 * time + 0.1)).astype(np.float32)) == pytest.approx(1.0)
    click = np.zeros(RATE, np.float32)
    click[1000] = 1.0
    assert spectra.crest_factor(click) == pytest.approx(np.sqrt(RATE), rel=1e-3)


def test_every_click_of_a_train_is_an_onset_and_steady_noise_has_none() -> None:
    sound = noise(10.0) * np.float32(0.01)
    clicks = (np.arange(15) * 0.6 + 0.5) * RATE
    for at in clicks.astype(int):
        sound[at : at + 480] += noise(0.01, at) * 4.0
    assert len(spectra.onsets(spectra.log_mel(sound))) == 15
    assert spectra.onset_rate(spectra.log_mel(noise(10.0))) < 0.2


def test_correlation_of_the_channels() -> None:
    left, right = noise(1.0, 1), noise(1.0, 2)
    assert spectra.channel_correlation(np.stack([left, left])) == pytest.approx(1.0)
    assert spectra.channel_correlation(np.stack([left, -left])) == pytest.approx(-1.0)
    assert spectra.channel_correlation(np.stack([left, right])) == pytest.approx(0.0, abs=0.02)
    assert spectra.channel_correlation(left) == 1.0
