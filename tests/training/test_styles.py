"""Which passages of recordings a model takes its sounds' styles from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from safa_stream.models.builtin.style import describe
from safa_stream.models.builtin.text import TextEncoder
from safa_stream.models.builtin.weights import load_weights
from safa_stream.training.bundle import STYLE_LENGTH, style_bank
from safa_stream.training.prepare import prepare

RATE = 48_000


def test_pauses_are_no_styles(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(4):
        sound = draw.normal(0, 0.1, (RATE * 20, 2))
        paused = np.concatenate([sound, np.zeros((RATE * 20, 2))])
        (tmp_path / "hiss").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "hiss" / f"white {number}.wav", paused, RATE)
    prepared = prepare(tmp_path, 16)
    text = load_weights()
    bank = style_bank(prepared, TextEncoder.from_tensors(text.under("text."), text.config["text"]))
    heard = prepared.chosen(held_out=False)[0]
    silent = describe(prepared.latents[heard.stop - STYLE_LENGTH : heard.stop])
    assert len(bank["rows"]) >= 12 and np.abs(bank["rows"] - silent).max(1).min() > 0.3
