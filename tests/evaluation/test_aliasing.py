"""The aliasing ratio on sounds whose overlaps are known to be smeared, rough, or like all else."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream.evaluation import aliasing
from safa_stream.layout import ViewLayout

RATE = aliasing.RATE
OVERLAPS, MIDDLES = [(1.0, 2.0), (3.0, 4.0)], [(0.0, 1.0), (2.0, 3.0), (4.0, 5.9)]


def merged(method: str, seed: int) -> np.ndarray:
    """16 kHz noise whose second and fourth second merge two unlike noises in the spectrum's frames."""
    generator = np.random.default_rng(seed)
    size, hop = 1024, 256
    count = 6 * RATE // hop
    one, two = (np.exp(0.8 * generator.normal(size=(count, size // 2 + 1))) for _ in range(2))
    level = one.copy()
    for second in (1, 3):
        span = slice(second * RATE // hop, (second + 1) * RATE // hop)
        if method == "average":
            level[span] = np.exp((np.log(one[span]) + np.log(two[span])) / 2)
        else:
            level[span][::2] = two[span][::2]
    phase = np.exp(2j * np.pi * generator.random((count, size // 2 + 1)))
    pieces = np.fft.irfft(level * phase, size) * np.hanning(size)
    out = np.zeros(count * hop + size)
    for index, piece in enumerate(pieces):
        out[index * hop : index * hop + size] += piece
    return out.astype(np.float32)


def ratio(method: str) -> float:
    return float(np.mean([aliasing.aliasing_ratio(merged(method, s), OVERLAPS, MIDDLES) for s in range(4)]))


def test_averaging_smears_and_swapping_does_not() -> None:
    assert ratio("average") < 0.95
    assert ratio("swap") == pytest.approx(1.0, abs=0.03)


def test_the_change_is_the_definition_written_out() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 1024 + 160).astype(np.float32)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    levels = []
    for start in (0, 160):
        power = np.abs(np.fft.rfft(samples[start : start + 1024] * window) / window.sum()) ** 2
        levels.append(np.log(power @ aliasing.mel_bands() + 1e-10))
    times, found = aliasing.change(samples)
    assert times.tolist() == [pytest.approx((160 + 512) / 16_000)]
    assert found[0] == pytest.approx(np.abs(levels[1] - levels[0]).mean())


def test_the_bands_peak_at_one_and_end_at_eight_kilohertz() -> None:
    bands = aliasing.mel_bands()
    assert bands.shape == (513, 64) and bands.max() <= 1.0 and bands[:, -1].max() > 0.9
    assert bands[0].sum() == 0.0 and bands[-1].sum() < 1e-9


def test_a_steady_tone_does_not_change_and_louder_is_not_rougher() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 0.1, RATE).astype(np.float32)
    assert aliasing.change(tone)[1].mean() < 1e-3 < aliasing.change(noise)[1].mean()
    assert aliasing.change(4 * noise)[1].mean() == pytest.approx(aliasing.change(noise)[1].mean(), rel=1e-3)


def test_windows_on_a_circle_follow_the_layout() -> None:
    overlaps, middles = aliasing.circular_windows(ViewLayout(160, 32), 3, 25.0)
    assert overlaps == [(0.0, 1.28), (5.12, 6.4), (10.24, pytest.approx(11.52))]
    assert middles == [(1.28, 5.12), (6.4, 10.24), (pytest.approx(11.52), 15.36)]


def test_without_mids_there_is_no_ratio() -> None:
    overlaps, middles = aliasing.circular_windows(ViewLayout(160, 128), 12, 25.0)
    assert middles == [] and overlaps[1] == (1.28, 2.56)
    assert np.isnan(aliasing.aliasing_ratio(merged("swap", 0), overlaps, middles))


def test_windows_are_trimmed_at_both_ends() -> None:
    times, level = np.arange(10) / 10.0, np.arange(10.0)
    assert aliasing.mean_inside(times, level, [(0.0, 0.5)], 0.1) == pytest.approx(np.mean([1, 2, 3, 4]))
    assert np.isnan(aliasing.mean_inside(times, level, [(0.0, 0.1)], 0.1))


def test_folding_finds_what_happens_once_a_period() -> None:
    times = np.arange(0.005, 6.0, 0.01)
    level = np.where(times % 2.0 < 0.5, 3.0, 1.0)
    found = aliasing.folded(times, level, 2.0, 0.25)
    assert found.tolist() == [3.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_stereo_at_any_rate_becomes_mono_at_sixteen_kilohertz() -> None:
    assert aliasing.at_paper_rate(np.zeros((2, 48_000), np.float32), 48_000).shape == (16_000,)
