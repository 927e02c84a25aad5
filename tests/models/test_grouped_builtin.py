"""Many channels of the model that ships: the first pair is its own, bit for bit, and the others are not its echo."""

from __future__ import annotations

import numpy as np

from safa_stream import engine
from safa_stream.evaluation.channels import compare
from safa_stream.models import load
from safa_stream.models.grouped import grouped
from safa_stream.scene import Scene, parse_prompts
from safa_stream.session import messages as m
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.types import FloatArray
from tests.session.stage import hear


def test_a_stream_of_five_channels() -> None:
    model, scene = load(), Scene(parse_prompts("rain on a tent, birds:0.4"), seed=2, steps=4)

    def made(channels: int) -> FloatArray:
        return np.concatenate([c.samples for c in engine.chunks(grouped(model, channels), scene, 6.5)], axis=1)

    stereo, five = made(2), made(5)
    assert five.shape == (5, 6.5 * 48_000) and np.array_equal(five[:2], stereo)
    found = compare(five[:2], five[2:4], 48_000)
    # Signals that have nothing to do with each other correlate so much by chance, in octaves from 125 Hz on.
    assert found.correlation < 0.05 and max(found.bands) < 0.15 and found.peak < 0.1
    # Another take of the same prompt is about three times as far away.
    assert found.timbre < 3.0 and found.level < 1.5


def test_a_session_of_four_channels() -> None:
    def heard(channels: int) -> FloatArray:
        scene = {**LiveScene.from_value("rain on a tent").as_dict(), "steps": 2, "channels": channels}
        session = Session.begin(load(), LiveScene.from_value(scene))
        first = hear(session, 1.0)
        session.receive(m.Mix(layer=0, low=6.0, pan=-0.5))
        session.receive(m.Prompt(prompts=parse_prompts("campfire"), now=True))
        return np.concatenate([first, hear(session, 2.5)], axis=1)

    stereo, four = heard(2), heard(4)
    assert four.shape == (4, stereo.shape[1]) and np.abs(four).max() < 10 ** (-1 / 20)
    assert np.array_equal(four[:2], stereo) and not np.array_equal(four[2:], stereo)
