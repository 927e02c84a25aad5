"""A session driven by hand: views are made at once when they are wanted, so that everything is repeatable."""

from __future__ import annotations

from typing import Any

import numpy as np

from safa_stream.models import load
from safa_stream.models.interface import Model
from safa_stream.scene import parse_prompts
from safa_stream.session import messages as m
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.stream import step_views
from safa_stream.types import FloatArray

BLOCK = 960


def built_in() -> Model:
    """The model that ships."""
    return load()


def begun(model: Model, scene: str = "rain on a tent", steps: int = 2) -> Session:
    """A session of few solver steps with its first view made."""
    session = Session.begin(model, LiveScene.from_value({**LiveScene.from_value(scene).as_dict(), "steps": steps}))
    feed(session)
    return session


def feed(session: Session, lead: float = 3.0, expected: float = 0.2) -> None:
    """Make every view that is wanted."""
    for number in session.wanting(lead):
        work = session.start(number, expected=expected)
        while not work.view.done:
            step_views(session.state.model, [work.view])
        session.complete(work.finish(), 0.1)


def hear(session: Session, seconds: float, fed: bool = True) -> FloatArray:
    """[2, N]: what the next seconds sound like."""
    parts = []
    for _ in range(round(seconds * session.rate / BLOCK)):
        if fed:
            feed(session)
        parts.append(session.read(BLOCK).samples)
    return np.concatenate(parts, axis=1)


def prompt(text: str, **values: Any) -> m.Prompt:
    """A prompt command."""
    return m.Prompt(prompts=parse_prompts(text), **values)


def jumps(samples: FloatArray) -> np.ndarray:
    """|Second difference| [N - 2] over its mean within 10 ms on both sides: above about 30 it is a click."""
    second: np.ndarray = np.abs(np.diff(samples.astype(np.float64), 2)).max(0)
    return second / (np.convolve(second, np.ones(961) / 961, "same") + 1e-7)
