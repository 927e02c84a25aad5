"""From one sound of a layer to another: what comes before a switch stays, and nobody hears the switch itself."""

from __future__ import annotations

import numpy as np
import pytest

from safa_stream.models.interface import Model
from safa_stream.session import messages as m
from safa_stream.session.session import Session
from safa_stream.stream import step_views
from tests.session.stage import BLOCK, begun, built_in, feed, hear, jumps, prompt

RATE = 48_000
#: Seconds: more than two hops, so that a change can be for sound that is made and not the next to be heard.
LEAD = 24.0


@pytest.fixture(scope="module")
def model() -> Model:
    return built_in()


def with_lead(model: Model, lead: float = LEAD) -> Session:
    session = begun(model)
    hear(session, 4)
    while session.wanting(lead):
        feed(session, lead)
    return session


def level(samples: np.ndarray) -> np.ndarray:
    """RMS in pieces of 5 ms."""
    return np.sqrt(np.mean(samples[:, : samples.shape[1] // 240 * 240].reshape(2, -1, 240) ** 2, axis=(0, 2)))


def test_a_change_far_ahead_leaves_alone_what_comes_before_it(model: Model) -> None:
    changed, untouched = with_lead(model), with_lead(model)
    changed.receive(prompt("campfire", at=changed.position + 20 * RATE))
    assert changed.wanting(LEAD), "what was made for then is to be made again"
    while changed.wanting(LEAD):
        feed(changed, LEAD)
    heard, same = hear(changed, 22, fed=False), hear(untouched, 22, fed=False)
    assert np.array_equal(heard[:, : 9 * RATE], same[:, : 9 * RATE])
    # Where the view that was cut begins, the same frames are made into sound once more.
    assert np.abs(heard - same)[:, : 17 * RATE].max() < 0.2 * np.abs(same).max()
    assert not np.allclose(heard[:, 21 * RATE :], same[:, 21 * RATE :], atol=1e-3)
    assert level(heard).min() > 0.2 * np.median(level(heard)), "and nowhere is silence"


def test_a_switch_to_the_same_sound_changes_no_level(model: Model) -> None:
    changed, untouched = with_lead(model, 8.0), with_lead(model, 8.0)
    changed.receive(prompt("campfire", now=True))
    feed(changed)
    heard, same = hear(changed, 0.1, fed=False), hear(untouched, 0.1, fed=False)
    gain = level(heard)[1:] / level(same)[1:]
    # From the level before to that after: in between, one is led over into the other.
    assert gain.min() > 0.98 * min(1.0, gain[-1]) and gain.max() < 1.02 * max(1.0, gain[-1]), gain


def test_a_switch_that_comes_too_late_is_made_again(model: Model) -> None:
    session, untouched = with_lead(model), with_lead(model)
    session.receive(prompt("campfire", now=True))
    (layer,) = session.wanting(LEAD)
    work = session.start(layer, expected=0.2)
    while not work.view.done:
        step_views(model, [work.view])
    heard = hear(session, 13, fed=False)
    assert session.complete(work.finish()) is None
    assert session.wanting(LEAD) == [layer] and session.is_waiting(layer)
    assert np.array_equal(heard, hear(untouched, 13, fed=False)), "what there is goes on meanwhile"
    assert np.array_equal(session.read(BLOCK).samples, untouched.read(BLOCK).samples)
    feed(session)
    assert not session.is_waiting(layer)
    assert not np.allclose(hear(session, 2), hear(untouched, 2), atol=1e-3)


def test_going_back_from_a_bed_leads_over_from_it(model: Model) -> None:
    session = begun(model)
    hear(session, 9)
    hear(session, session.lead(0) + 1.0, fed=False)
    assert any(isinstance(event, m.BedBegan) for event in session.events())
    session.receive(m.Rewind(to=3 * RATE))
    while session.is_waiting(0):
        feed(session)
    heard = np.concatenate([hear(session, 0.1, fed=False) for _ in range(4)], axis=1)
    assert session.state.layers[0].bed is None
    assert jumps(heard).max() < 30
    assert level(heard).min() > 0.2 * np.median(level(heard))


def test_a_change_that_comes_during_a_bed_is_heard_at_its_end(model: Model) -> None:
    session = begun(model)
    hear(session, 9)
    hear(session, session.lead(0) + 8.0, fed=False)
    session.receive(prompt("campfire", now=True, morph=0.0))
    hear(session, 1.5)
    (layer,) = session.provenance()["layers"]
    assert not layer["bed"] and [made["prompts"] for made in layer["prompts"]] == ["campfire"]
