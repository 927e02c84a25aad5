"""Words to sounds, trained on labels of one's own with the vocabulary of the model that ships."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safa_stream.errors import TrainingDataError
from safa_stream.models.builtin.text import TextEncoder
from safa_stream.models.builtin.weights import load_weights
from safa_stream.training.text import train_text

Text = tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def shipped() -> Text:
    weights = load_weights()
    return weights.under("text."), dict(weights.config["text"])


def test_one_s_own_labels_are_learned(shipped: Text) -> None:
    """Labels without captions of ours: their own words and the vocabulary's neighbours are enough."""
    labels = ["my kitchen", "glacier", "old violin", "rain"]
    titles = {"my kitchen": ["frying pan", "kettle and dishes"], "glacier": ["ice calving"]}
    encoder = TextEncoder.from_tensors(*train_text(labels, titles, *shipped, steps=200))
    for text, label in {
        "kitchen": "my kitchen", "cooking in the oven": "my kitchen", "an icy glacier": "glacier",
        "moraine and ice": "glacier", "cello and violin": "old violin", "drizzle": "rain",
    }.items():  # fmt: skip
        assert encoder.labels[int(encoder.encode(text).sounds.argmax())] == label, text
    assert encoder.encode("parliament").confidence < 0.5


def test_labels_without_a_known_word_are_reported(
    shipped: Text,
) -> None:
    lines: list[str] = []
    train_text(["qqxxzzw", "rain"], {}, *shipped, report=lines.append, steps=2)
    assert any("qqxxzzw" in line for line in lines)
    with pytest.raises(TrainingDataError):
        train_text(["qqxxzzw"], {}, *shipped, steps=2)
    with pytest.raises(TrainingDataError):
        train_text([], {}, *shipped)
