"""The shipped model: prompts become conditions, batches equal rows, guidance is what it says, damage is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from safa_stream.errors import ModelError
from safa_stream.models import load
from safa_stream.models.builtin.guiding import combined, guided, guiding_rows
from safa_stream.models.builtin.runtime import BuiltinModel, load_builtin
from safa_stream.models.builtin.weights import CONFIG_NAME, DECODER_NAME, GRAPH_NAME, SHIPPED, WEIGHTS_NAME
from safa_stream.models.interface import Conditioning, stack, take
from safa_stream.scene import parse_prompts

SOUNDS = (
    "bells birds boat cafe cave city crickets drone fire frogs hotspring machinery ocean rain snow stream thunder "
    "train underwater whale wind wolves"
).split()


@pytest.fixture(scope="module")
def model() -> BuiltinModel:
    return load_builtin()


def rows(
    model: BuiltinModel, count: int, frames: int = 32
) -> tuple[np.ndarray, np.ndarray, Conditioning, Conditioning]:
    draw = np.random.default_rng(0)
    facts = model.facts
    latents = draw.normal(size=(count, facts.latent_channels, frames, facts.latent_bins)).astype(np.float32)
    encoded = [model.encode(parse_prompts(name), (), seed=1) for name in SOUNDS[:count]]
    told, other = (stack([getattr(e, side) for e in encoded]) for side in ("conditioning", "negative"))
    return latents, np.linspace(0.9, 0.2, count).astype(np.float32), told, other


def test_it_knows_the_sounds_it_is_sold_with(model: BuiltinModel) -> None:
    assert set(SOUNDS) <= set(model.facts.sounds)
    assert model.facts.sample_rate == 48_000 and model.facts.channels == 2


def test_a_batch_equals_its_rows_alone(model: BuiltinModel) -> None:
    latents, level, told, other = rows(model, 4)
    guidance = np.array([1.0, 2.0, 3.0, 1.0], np.float32)
    together = model.denoise(latents, level, told, other, guidance)
    for row in range(4):
        one = slice(row, row + 1)
        alone = model.denoise(
            latents[one], level[one], take(told, row, row + 1), take(other, row, row + 1), guidance[one]
        )
        assert together[one] == pytest.approx(alone, abs=2e-5)


def test_guidance_moves_away_from_the_unconditional_estimate(model: BuiltinModel) -> None:
    latents, _, told, other = rows(model, 1)
    level = np.array([0.5], np.float32)
    plain = model.denoise(latents, level, told, other, np.array([1.0], np.float32))
    empty = model.denoise(latents, level, other, other, np.array([1.0], np.float32))
    told = Conditioning({**told.tensors, "guiding": guiding_rows(("",), (0.1, 0.95), {})})
    guided = model.denoise(latents, level, told, other, np.array([3.0], np.float32))
    assert guided == pytest.approx(empty + 3.0 * (plain - empty), abs=1e-4)
    assert np.abs(plain - empty).max() > 1e-3


def test_sounds_are_guided_as_they_need_it_and_mixtures_by_their_weights(model: BuiltinModel) -> None:
    latents, _, told, other = rows(model, 1)
    model = BuiltinModel(model.weights, model.backend, model.network, model.sampled_decoder)
    plain_rows = guiding_rows(model.labels, (0.1, 0.95), {})
    own_rows = guiding_rows(model.labels, (0.1, 0.95), {"bells": {"emphasis": 2.0, "levels": (0.5, 0.95)}})

    def made(text: str, guidance: float, level: float) -> np.ndarray:
        encoded = model.encode(parse_prompts(text), (), seed=1)
        at, asked = np.array([level], np.float32), np.array([guidance], np.float32)
        return np.asarray(model.denoise(latents, at, encoded.conditioning, encoded.negative, asked))

    for text, emphasis, low in (("bells", 2.0, 0.5), ("rain", 1.0, 0.1), ("bells, rain", 1.5, 0.3)):
        for level in (low - 0.05, low + 0.05):
            model.guiding = plain_rows
            expected = made(text, 1 + 2.5 * emphasis if level > low else 1.0, level)
            plain = made(text, 1.0, level)
            model.guiding = own_rows
            assert made(text, 3.5, level) == pytest.approx(expected, abs=1e-4), (text, level)
            assert made(text, 1.0, level) == pytest.approx(plain, abs=1e-5), "what is not guided stays so"


def test_beyond_the_levels_of_its_emphasis_a_sound_may_be_guided_as_asked() -> None:
    told = {"thunder": {"emphasis": 2.0, "levels": (0.35, 0.95), "beyond": 0.5}, "rain": {"levels": (0.35, 0.95)}}
    thunder, rain, wind = guiding_rows(("thunder", "rain", "wind"), (0.1, 0.95), told)
    for level, expected in ((0.05, 1.0), (0.2, 2.25), (0.5, 6.0), (0.97, 1.0)):
        assert guided(3.5, level, thunder) == pytest.approx(expected)
    assert guided(3.5, 0.2, rain) == 1.0 and guided(3.5, 0.2, wind) == 3.5
    assert guided(3.5, 0.2, (thunder + wind) / 2) == pytest.approx(1 + 2.5 * 0.25), "a mixture has the rows' mean"


def row(steadiness: float, contrast: float) -> list[float]:
    return list(guiding_rows(("x",), (0.1, 0.95), {"x": {"steadiness": steadiness, "contrast": contrast}})[0])


def test_guidance_leaves_a_sounds_change_over_time_as_its_row_says() -> None:
    draw = np.random.default_rng(0)
    told, untold = (draw.standard_normal((50, 8)).astype(np.float32) for _ in range(2))
    plain = combined(told, untold, 3.5, row(0.0, 1.0))
    assert np.array_equal(plain, untold + 3.5 * (told - untold))

    def change(latents: np.ndarray) -> float:
        return float(np.linalg.norm(latents - latents.mean(0)))

    for steadiness, contrast, expected in (
        (1.0, 1.0, change(told)),
        (0.0, 1.1, 1.1 * change(plain)),
        (0.5, 1.0, 0.5 * (change(plain) + change(told))),
    ):
        shaped = combined(told, untold, 3.5, row(steadiness, contrast))
        assert change(shaped) == pytest.approx(expected, rel=1e-4)
        np.testing.assert_allclose(shaped.mean(0), plain.mean(0), atol=1e-5)
    limited = list(guiding_rows(("x",), (0.1, 0.95), {"x": {"limit": 1.25}})[0])
    told[7] *= 8.0
    plain, bounded = combined(told, untold, 3.5, row(0.0, 1.0)), combined(told, untold, 3.5, limited)
    departs = np.linalg.norm(plain - plain.mean(0), axis=1)
    most = 1.25 * np.sqrt(np.mean(departs**2))
    loud = departs > most
    assert 1 <= loud.sum() < 10
    np.testing.assert_allclose(np.linalg.norm(bounded - plain.mean(0), axis=1)[loud], most, rtol=1e-4)
    np.testing.assert_allclose(bounded[~loud], plain[~loud], atol=1e-5)
    # What does not change stays as it is.
    still = np.ones((50, 8), np.float32)
    assert np.array_equal(combined(still, still, 3.5, row(1.0, 1.0)), still)


def test_finished_frames_are_kept_where_they_are_told(model: BuiltinModel) -> None:
    latents, _, told, other = rows(model, 1)
    level, one = np.array([0.7], np.float32), np.array([1.0], np.float32)
    context = np.zeros_like(latents)
    context[:, :, :8] = model.denoise(latents, level * 0.3, told, other, one)[:, :, :8]
    known = np.zeros((1, 32), np.float32)
    known[:, :8] = 1.0
    blind = model.denoise(latents, level, told, other, one)
    seen = model.denoise(latents, level, told, other, one, context, known)
    assert np.abs(seen - blind)[:, :, 8:12].mean() > 1e-3


def test_seed_and_words_decide_the_condition(model: BuiltinModel) -> None:
    def condition(text: str, seed: int) -> np.ndarray:
        return np.asarray(model.encode(parse_prompts(text), (), seed).conditioning.tensors["condition"])

    assert condition("rain on a tent", 3) == pytest.approx(condition("rain on a tent", 3))
    assert len({condition("rain", seed).tobytes() for seed in range(20)}) > 5, "seeds choose among many recordings"
    assert np.abs(condition("rain", 3) - condition("birds", 3)).max() > 1e-2


def test_unknown_words_are_reported(model: BuiltinModel) -> None:
    assert model.encode(parse_prompts("rain on a qwxzzk"), (), 0).unknown_words == ("qwxzzk",)


def test_weights_weigh(model: BuiltinModel) -> None:
    def condition(text: str) -> np.ndarray:
        return np.asarray(model.encode(parse_prompts(text), (), 5).conditioning.tensors["condition"])

    rain, little, much = condition("rain"), condition("rain, birds:0.1"), condition("rain, birds:0.9")
    assert np.linalg.norm(little - rain) < np.linalg.norm(much - rain)


def test_a_damaged_or_incomplete_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        load(str(tmp_path / "missing"))
    with pytest.raises(ModelError, match="is not a model folder"):
        load(str(tmp_path))
    copy = tmp_path / "copy"
    shutil.copytree(SHIPPED, copy)
    assert load(str(copy)).facts.sounds
    content = (copy / WEIGHTS_NAME).read_bytes()
    (copy / WEIGHTS_NAME).write_bytes(content[:-100])
    with pytest.raises(ModelError, match="is damaged"):
        load(str(copy))
    (copy / WEIGHTS_NAME).write_bytes(content)
    graph = (copy / DECODER_NAME).read_bytes()
    (copy / DECODER_NAME).unlink()
    with pytest.raises(ModelError, match="decoder.onnx.* is missing.*safa-stream export"):
        load(str(copy), "onnx")
    (copy / DECODER_NAME).write_bytes(graph)
    (copy / GRAPH_NAME).write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="cannot load"):
        load(str(copy))
    (copy / GRAPH_NAME).unlink()
    with pytest.raises(ModelError, match="is incomplete"):
        load(str(copy))
    config = json.loads((copy / CONFIG_NAME).read_text())
    (copy / CONFIG_NAME).write_text(json.dumps(config | {"format": "another"}))
    with pytest.raises(ModelError, match="not of format"):
        load(str(copy))
