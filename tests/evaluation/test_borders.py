"""Border profiles and jumps: a planted seam and a planted click are found where they are, and nothing else is."""

from __future__ import annotations

import xml.etree.ElementTree as xml

import numpy as np
import pytest

from safa_stream.evaluation.borders import Jumps, Profile, border_change, interior_borders, profile_rows
from safa_stream.evaluation.plot import line_plot, ticks
from safa_stream.layout import ViewLayout

LAYOUT = ViewLayout(40, 8)
VIEWS = 4
FRAMES = LAYOUT.linear_width(VIEWS)


def random_mel(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4 * FRAMES, 24)).astype(np.float32)


def profile(mels: list[np.ndarray]) -> Profile:
    return Profile.of_sounds([profile_rows(border_change(m, FRAMES), LAYOUT, VIEWS) for m in mels], LAYOUT.overlap)


def test_a_sound_without_seams_has_a_flat_profile() -> None:
    found = profile([random_mel(seed) for seed in range(40)])
    assert found.overlap_ratio == pytest.approx(1.0, abs=0.02)
    assert found.edges == pytest.approx(1.0, abs=0.04)
    assert found.worst < found.worst_by_chance + 3 * found.worst_error
    assert found.worst < 1.1


def test_a_planted_seam_is_found_at_its_border() -> None:
    mels = [random_mel(seed) for seed in range(10)]
    for mel in mels:
        for view in range(1, VIEWS):
            mel[4 * (view * LAYOUT.hop + 5) :] += 2.0 * (-1) ** view
    found = profile(mels)
    assert found.worst > 1.4
    assert found.worst_place == 5


def test_a_smeared_overlap_lowers_its_ratio_and_not_its_surroundings() -> None:
    mels = [random_mel(seed) for seed in range(10)]
    for mel in mels:
        for view in range(1, VIEWS):
            mel[4 * view * LAYOUT.hop : 4 * (view * LAYOUT.hop + LAYOUT.overlap)] *= 0.5
    found = profile(mels)
    assert found.overlap_ratio < 0.7
    assert found.mean[: LAYOUT.overlap - 1].mean() == pytest.approx(1.0, abs=0.05)


def test_the_interior_keeps_clear_of_overlaps() -> None:
    inside = interior_borders(LAYOUT, VIEWS)
    assert inside.sum() >= 8
    for view in range(1, VIEWS):
        start = view * LAYOUT.hop
        assert not inside[start - LAYOUT.overlap : start + 2 * LAYOUT.overlap + 1].any()


def test_a_click_at_a_border_is_found_and_its_absence_too() -> None:
    draw = np.random.default_rng(0)
    borders = [9_600 * k for k in range(1, 9)]
    clean, clicking = Jumps(), Jumps()
    for seed in range(4):
        samples = np.cumsum(draw.normal(0, 0.01, (2, 96_000)), axis=1).astype(np.float32)
        clean.add(samples, borders)
        broken = samples.copy()
        if seed == 1:
            broken[:, borders[2] :] += 0.15
        clicking.add(broken, borders)
    assert len(clean.at_borders) == 32
    assert clean.percentile() < 99.9 and clean.above() <= 1
    assert clicking.percentile() > 99.9
    assert clicking.largest_percentile() > 99.9


def test_a_loud_passage_does_not_hide_a_click_in_a_soft_one() -> None:
    draw = np.random.default_rng(1)
    samples = draw.normal(0, 0.3, (1, 96_000)).astype(np.float32)
    samples[:, 48_000:] *= 1e-3
    samples[:, 72_000:] += 0.01
    jumps = Jumps()
    jumps.add(samples, [24_000, 72_000])
    assert jumps.percentile() > 99.9


def test_plots_are_well_formed_and_hold_every_curve() -> None:
    text = line_plot(
        {"a <b>": ([0, 1, 2], [1.0, np.nan, 2.0]), "c": ([0, 2], [0.5, 0.7])}, "T & U", "x", "y", [(0, 1)], [1.0]
    )
    root = xml.fromstring(text)
    assert len([e for e in root.iter() if e.tag.endswith("polyline")]) == 2
    assert ticks(0.0, 10.0) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert [f"{value:g}" for value in ticks(0.0, 1.0)][0] == "0"
