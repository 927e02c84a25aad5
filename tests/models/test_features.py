"""The features stand for what was heard: levels, pitches and width come back, and the latent map loses only detail."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream.models.builtin.features import (
    BANDS,
    HOP,
    SAMPLE_RATE,
    SAMPLES_PER_TOKEN,
    SIDE_MIN,
    TOKEN_FEATURES,
    band_edges,
    fit_latent_map,
    log_mel,
    mel_weights,
    mid_side,
    split_tokens,
    tokens,
)


def test_white_noise_has_its_power_density_in_every_band() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE * 12).astype(np.float32)
    level = np.exp(log_mel(noise)).mean(0)
    assert level == pytest.approx(np.full(BANDS, 0.01), rel=0.25)


@pytest.mark.parametrize("hz", [110.0, 440.0, 3000.0, 12_000.0])
def test_a_tone_is_loudest_in_the_band_that_holds_it(hz: float) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    band = int(log_mel(tone)[50].argmax())
    edges = band_edges()
    assert edges[band] < hz < edges[band + 2]


def test_a_click_is_found_in_its_own_frame_above_1500_hz() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[50 * HOP + HOP // 2] = 1.0
    treble = log_mel(click)[:, band_edges()[1:-1] > 1500.0].mean(1)
    assert treble.argmax() == 50
    assert treble[48] < treble[50] - 5 and treble[52] < treble[50] - 5


def test_filters_sum_to_one() -> None:
    assert mel_weights().sum(0) == pytest.approx(np.ones(BANDS), abs=1e-5)


def test_long_signals_are_analysed_as_short_ones() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, HOP * 2200).astype(np.float32)
    part = log_mel(noise[HOP * 2000 :])
    assert log_mel(noise)[2010:2190] == pytest.approx(part[10:190], abs=2e-3)


def test_mono_has_no_side_and_wide_noise_has_as_much_side_as_mid() -> None:
    draw = np.random.default_rng(2)
    left, right = draw.normal(0, 0.1, (2, SAMPLES_PER_TOKEN * 20)).astype(np.float32)
    mono = tokens(np.stack([left, left]))
    wide = tokens(np.stack([left, right]))
    assert mono.shape == (20, TOKEN_FEATURES)
    assert (mono[:, 4 * BANDS :] == SIDE_MIN).all()
    assert abs(wide[2:-2, 4 * BANDS :].mean()) < 0.2
    mid, side = split_tokens(wide)
    assert mid.shape == side.shape == (80, BANDS)


def test_mid_side_turns_back() -> None:
    stereo = np.random.default_rng(3).normal(size=(2, 100)).astype(np.float32)
    mid, side = mid_side(stereo)
    assert np.stack([mid + side, mid - side]) == pytest.approx(stereo, abs=1e-6)


def test_the_latent_map_keeps_what_varies_and_has_unit_mean_variance() -> None:
    draw = np.random.default_rng(4)
    mixing = draw.normal(size=(12, TOKEN_FEATURES))
    token = (draw.normal(size=(4000, 12)) @ mixing + 3.0).astype(np.float32)
    latent_map = fit_latent_map(token.mean(0), np.cov(token.T), 16)
    latent = latent_map.encode(token)
    assert latent.shape == (4000, 16)
    assert np.abs(latent_map.decode(latent) - token).max() < 0.02
    assert float((latent[:, :12] ** 2).mean()) == pytest.approx(16 / 12, rel=0.1)
