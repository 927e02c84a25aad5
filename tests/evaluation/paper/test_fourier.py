"""The Fourier analysis on latents whose spectra are known, and on a canvas of a small model."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml

import numpy as np
import pytest

from safa_stream import joint
from safa_stream.evaluation.generate import encode
from safa_stream.evaluation.paper import fourier, fourier_page, making
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.paper.methods import METHODS, Job
from safa_stream.evaluation.paper.watching import WatchedModel
from safa_stream.evaluation.tables import to_json
from tests.toy import ToyModel


def noise(seed: int, frames: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(6, 8, frames, 10)).astype(np.float32)


def test_a_wave_along_time_stands_at_its_frequency() -> None:
    wave = np.cos(2 * np.pi * 6 * np.arange(32) / 32)[:, None] * np.ones((3, 32, 4))
    amplitude = fourier.log_amplitude(wave.astype(np.float32))
    assert amplitude.shape == (17,) and amplitude.argmax() == 6
    assert fourier.relative(amplitude)[0] == 0.0


def test_averaging_unlike_latents_lowers_and_swapping_keeps_high_frequencies() -> None:
    one, two = noise(0), noise(1)
    swapped = np.where(np.arange(32)[:, None] % 2 == 1, one, two)
    kept = fourier.high_frequencies(fourier.log_amplitude(one))
    averaged = fourier.high_frequencies(fourier.log_amplitude((one + two) / 2))
    assert averaged - kept == pytest.approx(np.log(0.5**0.5), abs=0.05)
    assert fourier.high_frequencies(fourier.log_amplitude(swapped)) - kept == pytest.approx(0.0, abs=0.05)


def test_regions_are_the_overlap_and_the_middle_of_mid() -> None:
    views = np.broadcast_to(np.arange(40, dtype=np.float32)[:, None], (3, 2, 40, 5))
    over, mid = fourier.regions(views, 8)
    assert over[0, 0, :, 0].tolist() == list(range(8))
    assert mid[0, 0, :, 0].tolist() == list(range(16, 24))


def test_disagreement_runs_from_nothing_to_one() -> None:
    views = noise(2, 40)
    assert fourier.disagreement(views, 8) == pytest.approx(1.0, abs=0.1)
    for view in range(6):
        views[(view + 1) % 6, :, :8] = views[view, :, -8:]
    assert fourier.disagreement(views, 8) == pytest.approx(0.0, abs=1e-6)


@pytest.fixture(scope="module")
def found(toy: ToyModel, setup: Setup) -> fourier.FourierReport:
    return fourier.measure(toy, setup)


def test_every_step_is_seen_and_the_noise_is_alike_everywhere(found: fourier.FourierReport) -> None:
    assert set(found.curves) == {"MD", "MD*", "SaFa*"}
    for curves in found.curves.values():
        assert curves.overlap.shape == (5, 5) and curves.disagreement.shape == (4,)
        assert abs(curves.lost()[0]) < 0.3
    # All methods begin with the same noise.
    assert (found.curves["MD"].overlap[0] == found.curves["SaFa*"].overlap[0]).all()
    assert (found.curves["MD"].overlap[-1] != found.curves["SaFa*"].overlap[-1]).any()


def test_the_page_the_table_and_the_pictures_hold_every_method(found: fourier.FourierReport) -> None:
    page = fourier_page.markdown(found, "safa-stream eval fourier")
    pictures = fourier_page.pictures(found)
    assert all(f"]({name}.svg)" in page for name in pictures) and "| SaFa* |" in page
    assert all(xml.fromstring(svg).tag.endswith("svg") for svg in pictures.values())
    assert "MD*" in fourier_page.table(found)
    assert len(json.loads(to_json(found.as_dict()))["methods"]["MD"]["disagreement"]) == 4


def test_a_watched_model_makes_the_same_canvas_and_shows_joined_states(toy: ToyModel) -> None:
    job, encoded = Job(METHODS["safa"], 3, 4), encode(toy, "low", 0)
    plan, watched = making.plan_of(toy, job, 0), WatchedModel(toy)
    spans = job.method.spans(toy, 3)
    made = joint.denoise_views(watched, plan, spans, 96, encoded, 2.0)
    assert (made == joint.denoise_views(toy, plan, spans, 96, encoded, 2.0)).all()
    states = watched.states(3)
    # The reference, a row more in the first steps, is left out.
    assert states.shape == watched.outputs(3).shape == (4, 3, 2, 40, 3)
    for view in range(3):
        assert (states[:, view, :, -8:] == states[:, (view + 1) % 3, :, :8]).all()
