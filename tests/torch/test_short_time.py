"""Transforms as matrix products are the Fourier transforms that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from safa_stream.models.builtin.features import HOP, frames, log_mel
from safa_stream.models.builtin.shaping import LogMel
from safa_stream.models.builtin.short_time import LowBins, ManyBins, ShortTime, half_sine, hann

Transform = type[LowBins] | type[ManyBins]
NOISE = np.random.default_rng(0).standard_normal((2, 96 * HOP)).astype(np.float32)


def spectrum_of(transform: ShortTime, samples: np.ndarray) -> np.ndarray:
    """[C, F, bins] cosines and sines squared and added, bins in order."""
    found = transform(torch.from_numpy(samples)).numpy()
    cosines, sines = np.split(found, 2, axis=-1)
    power = np.moveaxis(cosines**2 + sines**2, 0, -2).reshape(*found.shape[1:3], -1)
    bins = transform.bins.reshape(-1)
    return np.asarray(power[..., np.argsort(bins)[np.count_nonzero(bins < 0) :]])


@pytest.mark.parametrize(
    ("transform", "size", "hop", "group", "low", "high"),
    [
        (LowBins, 1920, 960, 120, 1, 24),
        (LowBins, 960, 480, 60, 9, 70),
        (LowBins, 4096, 480, 480, 3, 45),
        (ManyBins, 480, 240, 30, 26, 200),
        (ManyBins, 960, 480, 120, 0, 481),
        (ManyBins, 1024, 480, 32, 29, 430),
    ],
)
def test_power_is_that_of_the_fourier_transform(
    transform: Transform, size: int, hop: int, group: int, low: int, high: int
) -> None:
    window, bins = half_sine(size) if size == 2 * hop else hann(size), np.arange(low, high)
    weights = np.random.default_rng(1).uniform(0.1, 1, len(bins))
    found = spectrum_of(transform(window, hop, bins, weights, group), NOISE)
    exact = np.abs(np.fft.rfft(frames(NOISE, size, NOISE.shape[1] // hop, hop) * window)[..., bins]) ** 2 * weights
    assert np.abs(found - exact).max() < 2e-6 * exact.max()


@pytest.mark.parametrize(("transform", "group"), [(LowBins, 60), (LowBins, 120), (ManyBins, 120), (ManyBins, 30)])
def test_back_filters(transform: Transform, group: int) -> None:
    size, hop, bins = 960, 480, np.arange(5, 80)
    share = np.random.default_rng(2).uniform(0.1, 1, len(bins))
    made = transform(half_sine(size), hop, bins, share * (2 / size), group)
    found = made.back(made(torch.from_numpy(NOISE))).numpy()
    spectrum = np.fft.rfft(frames(NOISE, size, NOISE.shape[1] // hop, hop) * half_sine(size))
    filtered = np.zeros_like(spectrum)
    filtered[..., bins] = spectrum[..., bins] * share
    pieces = np.fft.irfft(filtered, size) * half_sine(size)
    exact = np.zeros((2, NOISE.shape[1] + hop))
    for frame in range(pieces.shape[1]):
        exact[:, frame * hop : frame * hop + size] += pieces[:, frame]
    assert np.abs(found - exact[:, hop // 2 : -hop // 2]).max() < 2e-6 * np.abs(exact).max()


def test_the_log_mel_is_the_features() -> None:
    tone = 0.1 * np.sin(2 * np.pi * 220 * np.arange(NOISE.shape[1]) / 48_000)
    samples = (0.01 * NOISE[:1] + tone).astype(np.float32)
    found = LogMel()(torch.from_numpy(samples)).numpy()
    # The features' transforms are padded with zeros to 4096, which samples the same spectra more closely.
    assert np.abs(found - log_mel(samples[0]))[10:-10].mean() < 0.1
    assert np.abs(found.mean(0) - log_mel(samples[0]).mean(0)).max() < 0.1
