"""The connectivity fit on maps that are known, and on a small model whose sound is what its latents are."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml

import numpy as np
import pytest

from safa_stream.evaluation.paper import connectivity, connectivity_page
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.tables import to_json
from tests.toy import ToyModel


def test_a_linear_map_is_found_and_held_out_rows_are_exact() -> None:
    draw = np.random.default_rng(0)
    latents, weights = draw.normal(size=(200, 6)), draw.normal(size=(7, 4))
    spectrum = connectivity.predict(weights, latents)
    found = connectivity.fit(latents[:100], spectrum[:100])
    assert found == pytest.approx(weights, abs=1e-9)
    error = connectivity.relative_error(spectrum[100:], connectivity.predict(found, latents[100:]), spectrum.mean(0))
    assert error == pytest.approx(np.zeros(4), abs=1e-12)


def test_unrelated_rows_are_no_better_than_the_mean() -> None:
    draw = np.random.default_rng(1)
    latents, spectrum = draw.normal(size=(4000, 5)), draw.normal(size=(4000, 3))
    found = connectivity.fit(latents[:2000], spectrum[:2000])
    guess = connectivity.predict(found, latents[2000:])
    error = connectivity.relative_error(spectrum[2000:], guess, spectrum[:2000].mean(0))
    assert error == pytest.approx(np.ones(3), abs=0.02)


def test_half_of_the_variance_unexplained_is_one_half() -> None:
    draw = np.random.default_rng(2)
    pairs = [(z, z + draw.normal(size=z.shape)) for z in draw.normal(size=(8, 500, 2))]
    held = np.arange(8) % 4 == 3
    assert connectivity.Fitted.of(pairs, held).error() == pytest.approx(0.5, abs=0.05)


def test_shapes_of_latents_and_spectra() -> None:
    latents = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)
    assert connectivity.by_frame(latents)[1].tolist() == [5, 6, 7, 8, 9, 20, 21, 22, 23, 24]
    assert connectivity.by_place(latents)[6].tolist() == [6, 21]
    mel = np.arange(12.0)[:, None] * np.ones((12, 10))
    assert connectivity.downsample(mel, 3)[:, 0].tolist() == [1.5, 5.5, 9.5]
    bands = np.tile(np.arange(10.0), (3, 1))
    assert connectivity.grouped_bands(bands, 5)[:5, 0].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert connectivity.change_kept([mel], [0.5 * mel]) == pytest.approx(0.5)


def test_a_model_is_measured_and_the_page_written(toy: ToyModel, setup: Setup) -> None:
    found = connectivity.measure(toy, setup)
    assert found.frame_error_by_band.shape == (96,) and found.held_out == 3 and found.clips == 2
    told = json.loads(to_json(found.as_dict()))
    assert told["frame_error"] > 0 and told["channelwise_error"] > 0
    page = connectivity_page.markdown(found, "safa-stream eval connectivity")
    (name, svg), *none = connectivity_page.pictures(found).items()
    assert f"]({name}.svg)" in page and xml.fromstring(svg).tag.endswith("svg") and not none
    assert "held-out" in connectivity_page.table(found)


def test_one_clip_alone_holds_out_its_last_view(toy: ToyModel) -> None:
    assert connectivity.measure(toy, Setup(("low",), steps=2)).held_out == 1
