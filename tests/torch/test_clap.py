"""CLAP through transformers' own classes, made small: what is loaded, what its directions are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    ClapTextConfig,
    RobertaTokenizer,
)

from safa_stream.errors import UsageError
from safa_stream.evaluation.paper.clap import Clap

RATE = 48_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("clap") / "small-clap"
    torch.manual_seed(0)
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *(chr(at) for at in range(97, 123)), "Ġ"]
    tokenizer = RobertaTokenizer(vocab={word: at for at, word in enumerate(words)}, merges=[])
    text = ClapTextConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    audio = ClapAudioConfig(
        hidden_size=16, patch_embeds_hidden_size=8, depths=[1, 1], num_attention_heads=[2, 2], num_hidden_layers=2
    )
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12))
    model.save_pretrained(where)
    ClapProcessor(ClapFeatureExtractor(truncation="rand_trunc"), tokenizer).save_pretrained(where)
    return where


def sound(seed: int, seconds: float = 5.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (2, int(seconds * RATE))).astype(np.float32)


def test_words_and_sounds_are_directions_of_one_space(folder: Path) -> None:
    clap = Clap(str(folder))
    assert clap.name == "small-clap"
    words, sounds = clap.words("rain"), clap.sounds((sound(0), sound(1)))
    assert words.shape == (12,) and sounds.shape == (2, 12)
    assert np.linalg.norm(words) == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(sounds, axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert np.abs(words - clap.words("wind")).max() > 1e-4


def test_the_same_sound_has_the_same_direction_however_long(folder: Path) -> None:
    clap = Clap(str(folder))
    for seconds in (0.5, 12.0):
        first, second = (clap.sounds((sound(3, seconds),)) for _ in range(2))
        assert (first == second).all()


def test_a_folder_without_a_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no CLAP model can be loaded from"):
        Clap(str(tmp_path))
