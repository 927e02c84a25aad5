"""Words to sounds: the shipped encoder on new prompts and its fall-backs."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa_stream.errors import ModelError
from safa_stream.models.builtin.text import TextEncoder, TextResult, wanted_words
from safa_stream.models.builtin.weights import load_weights
from safa_stream.training.captions import load_material

Text = tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]
PROMPTS = tomllib.loads((Path(__file__).parent / "prompts.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shipped() -> Text:
    weights = load_weights()
    return weights.under("text."), dict(weights.config["text"])


@pytest.fixture(scope="module")
def encoder(shipped: Text) -> TextEncoder:
    return TextEncoder.from_tensors(*shipped)


def leading(encoder: TextEncoder, result: TextResult, count: int = 1) -> list[str]:
    return [encoder.labels[i] for i in np.argsort(-result.sounds)[:count]]


def share(encoder: TextEncoder, text: str, sound: str) -> float:
    return float(encoder.encode(text).sounds[encoder.labels.index(sound)])


def test_prompts_for_one_sound_are_understood(encoder: TextEncoder) -> None:
    told = [(sound, text) for sound, texts in PROMPTS["one"].items() for text in texts]
    found = [(text, sound, leading(encoder, encoder.encode(text))[0]) for sound, text in told]
    wrong = [case for case in found if case[1] != case[2]]
    assert len(told) >= 120
    assert len(wrong) <= 0.05 * len(told), wrong


def test_prompts_for_two_sounds_find_both(encoder: TextEncoder) -> None:
    found = [set(leading(encoder, encoder.encode(text), 2)) & set(both) for text, both in PROMPTS["two"].items()]
    assert sum(map(len, found)) >= 0.92 * 2 * len(found)


def test_most_of_the_prompts_are_nowhere_in_the_captions() -> None:
    """The few that are there are what everyone types first and must never fail."""
    material = load_material()
    captions = {text for listed in material.sounds.values() for text in listed} | set(material.mixtures)
    prompts = [text for texts in PROMPTS["one"].values() for text in texts] + list(PROMPTS["two"])
    assert sum(text not in captions for text in prompts) >= 150


@pytest.mark.parametrize("sound", ["rain", "thunder", "wind", "ocean", "fire", "birds", "train", "whale"])
def test_the_sound_s_own_name_is_certain(encoder: TextEncoder, sound: str) -> None:
    result = encoder.encode(sound)
    assert share(encoder, sound, sound) > 0.95
    assert result.confidence > 0.8
    assert result.unknown_words == ()


def test_other_things_are_flagged(encoder: TextEncoder) -> None:
    doubts = [encoder.encode(text).confidence for text in PROMPTS["none"]["prompts"]]
    sure = [encoder.encode(text).confidence for texts in PROMPTS["one"].values() for text in texts]
    assert np.mean(np.array(doubts) < 0.5) >= 0.9
    assert np.mean(np.array(sure) > 0.5) >= 0.9


def test_a_result_is_a_distribution_and_a_unit_vector(encoder: TextEncoder) -> None:
    result = encoder.encode("thunder over a stormy sea")
    assert result.sounds.dtype == np.float32 and result.sounds.shape == (len(encoder.labels),)
    assert result.sounds.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(result.semantic) == pytest.approx(1.0, abs=1e-4)
    assert 0.0 <= result.confidence <= 1.0


def test_unknown_words_are_named_and_lower_the_confidence(encoder: TextEncoder) -> None:
    result = encoder.encode("rain on a zxqvbnk")
    assert result.unknown_words == ("zxqvbnk",)
    assert leading(encoder, result) == ["rain"]
    assert result.confidence < encoder.encode("rain").confidence


@pytest.mark.parametrize("text", ["", "   ", "the of and", "qqxxzzw", "12345", "雨"])
def test_a_text_without_a_known_word_has_no_confidence(encoder: TextEncoder, text: str) -> None:
    result = encoder.encode(text)
    assert result.confidence == 0.0
    assert np.isfinite(result.sounds).all() and not result.semantic.any()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Café", "cafe"),
        ("RAIN!!!", "rain"),
        ("rain storm", "rainstorm"),
        ("water fall", "waterfall"),
        ("thunderstrom", "thunderstorm"),
        ("raining softly", "raining soft"),
        ("birds without thunder", "birds"),
        ("wind, no rain", "wind"),
    ],
)
def test_spelling_does_not_matter(encoder: TextEncoder, said: str, meant: str) -> None:
    assert encoder.encode(said).unknown_words == ()
    assert leading(encoder, encoder.encode(said)) == leading(encoder, encoder.encode(meant))


@pytest.mark.parametrize(
    ("text", "sounds"),
    [
        ("church bells over city traffic", ["bells", "city"]),
        ("rain and a distant train", ["rain", "train"]),
        ("thunder, crickets; frogs", ["thunder", "crickets", "frogs"]),
        ("rain", ["rain"]),
        ("rain and more rain", ["rain"]),
        ("rain without thunder", ["rain"]),
        ("wind and the qqxxzzw", ["wind"]),
    ],
)
def test_clauses_that_name_sounds_of_their_own_are_parts(encoder: TextEncoder, text: str, sounds: list[str]) -> None:
    assert [leading(encoder, part)[0] for part in encoder.parts(text)] == sounds


def test_a_negation_reaches_to_the_next_connecting_word() -> None:
    assert wanted_words("rain without loud thunder and wind".split()) == ["rain", "wind"]


def test_words_make_other_words_known(encoder: TextEncoder) -> None:
    """A word split in two known ones and a rare inflection are found without being in the vocabulary."""
    assert encoder.lexicon.look_up("gullwind") == tuple(encoder.lexicon.rows[w] for w in ("gull", "wind"))
    assert encoder.lexicon.look_up("xylophonists") != () or "xylophonists" not in encoder.lexicon.rows
    assert encoder.lexicon.look_up("qqxxzzw") == ()


def test_semantic_vectors_tell_kinds_of_a_sound_apart(encoder: TextEncoder) -> None:
    def nearest(text: str, captions: list[str]) -> str:
        vectors = np.stack([encoder.encode(caption).semantic for caption in captions])
        return captions[int(np.argmax(vectors @ encoder.encode(text).semantic))]

    assert nearest("pouring heavy rain", ["light rain", "heavy rain", "rain on window"]) == "heavy rain"
    assert nearest("rain against the window pane", ["light rain", "heavy rain", "rain on window"]) == "rain on window"
    assert nearest("thunder far away", ["thunder claps", "distant thunder"]) == "distant thunder"


def test_it_is_small_and_quick(shipped: Text) -> None:
    tensors, config = shipped
    assert sum(tensor.nbytes for tensor in tensors.values()) <= 4e6
    begun = time.perf_counter()
    encoder = TextEncoder.from_tensors(tensors, config)
    loaded = time.perf_counter()
    for _ in range(50):
        encoder.encode("rain on a tent with distant thunder and crickets")
    assert loaded - begun < 0.5
    assert (time.perf_counter() - loaded) / 50 < 0.01


def test_damaged_tensors_are_refused(shipped: Text) -> None:
    tensors, config = shipped
    with pytest.raises(ModelError, match="incomplete"):
        TextEncoder.from_tensors({k: v for k, v in tensors.items() if k != "gate"}, config)
    with pytest.raises(ModelError, match="shape"):
        TextEncoder.from_tensors({**tensors, "scale": tensors["scale"][:-1]}, config)
