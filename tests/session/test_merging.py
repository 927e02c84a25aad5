"""Mix commands of one moment become one a layer: the sound, the journal's and a snapshot's are what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa_stream.errors import UsageError
from safa_stream.session import messages as m
from safa_stream.session import snapshots
from safa_stream.session.journal import Journal, read_journal
from safa_stream.session.replay import replay
from safa_stream.session.session import Session
from safa_stream.types import FloatArray
from tests.session.stage import feed
from tests.session.test_many_channels import BLOCK, begun, model


def heard(session: Session, blocks: int = 6) -> FloatArray:
    parts = []
    for _ in range(blocks):
        feed(session)
        parts.append(session.read(BLOCK).samples)
    return np.concatenate(parts, axis=1)


def lines(session: Session) -> list[dict[str, Any]]:
    return [line for line in session.journal() if line["type"] == "command"]


def test_a_fader_that_moves_at_every_picture_is_one_command_a_block() -> None:
    session, other = begun(2), begun(2)
    for one in (session, other):
        heard(one)
        lines(one)
    numbers = {session.receive(m.Mix(layer=0, gain=-float(step), pan=step / 20)) for step in range(1, 11)}
    numbers |= {session.receive(m.Mix(layer=0, low=3.0)), session.receive(m.Mix(layer=0, mute=False))}
    (line,) = lines(session)
    assert numbers == {line["number"]} == {1}
    assert line["command"] == m.Mix(layer=0, gain=-10.0, pan=0.5, low=3.0, mute=False)
    assert [event.name for event in session.events() if event.name == "applied"] == ["applied"]
    # It sounds as if it had been said once.
    other.receive(m.Mix(layer=0, gain=-10.0, pan=0.5, low=3.0))
    assert np.array_equal(heard(session), heard(other))
    assert session.receive(m.Mix(layer=0, gain=0.0)) == 2


def test_a_value_that_comes_back_leaves_the_ramp_that_there_was() -> None:
    session, other = begun(2), begun(2)
    for one in (session, other):
        heard(one)
        one.receive(m.Mix(layer=0, gain=-40.0, ramp=1.0))
        heard(one)
    for gain in (0.0, 3.0, -40.0):
        session.receive(m.Mix(layer=0, gain=gain))
    assert np.array_equal(heard(session, 60), heard(other, 60))


def test_layers_that_take_turns_have_a_command_each() -> None:
    session = begun(2)
    heard(session)
    lines(session)
    for step in range(20):
        for layer in (0, 1, None):
            session.receive(m.Mix(layer=layer, gain=-float(step)))
    assert [line["command"].layer for line in lines(session)] == [0, 1, None]
    assert session.state.commands == 3


@pytest.mark.parametrize(
    "between",
    [
        lambda session: session.read(BLOCK),
        lambda session: session.receive(m.SaveScene(scene="kept")),
        lambda session: session.receive(m.Freeze(on=True)),
        lambda session: session.journal(),
        lambda session: snapshots.capture(session),
        lambda session: session.receive(m.Mix(layer=0, gain=-3, ramp=2.0)),
        lambda session: session.receive(m.Mix(layer=0, gain=-3, at=0)),
    ],
)
def test_what_comes_in_between_ends_the_moment(between: Any) -> None:
    session = begun(2)
    heard(session)
    first = session.receive(m.Mix(layer=0, gain=-6))
    between(session)
    assert session.receive(m.Mix(layer=0, gain=-9)) > first
    assert session.state.strip(0).gain == -9


def test_a_command_that_cannot_be_changes_nothing_and_merges_with_nothing() -> None:
    session = begun(2)
    heard(session)
    first = session.receive(m.Mix(layer=0, gain=-6))
    for wrong in (m.Mix(layer=0, gain=99), m.Mix(layer=3, gain=0), m.Mix(pan=0.5), m.Mix(layer=0, duck_by=0)):
        with pytest.raises(UsageError):
            session.receive(wrong)
    assert session.receive(m.Mix(layer=0, pan=-1)) == first
    assert (session.state.strip(0).gain, session.state.strip(0).pan) == (-6, -1)


def test_the_journal_plays_it_again_to_the_bit(tmp_path: Path) -> None:
    session = begun(4)
    journal = Journal(
        tmp_path / "j", {"model": "toy", "version": "1", "scene": session.scene().as_dict(), "block": BLOCK}
    )
    rng, parts = np.random.default_rng(1), []
    for _ in range(30):
        feed(session)
        for _ in range(rng.integers(0, 9)):
            layer = [0, 1, 5, None][rng.integers(4)]
            ramp = [0.03, 0.5][rng.integers(2)]
            session.receive(m.Mix(layer=layer, gain=float(rng.uniform(-30, 6)), ramp=ramp))
            if layer is not None and rng.integers(3) == 0:
                session.receive(
                    m.Mix(layer=layer, solo=bool(rng.integers(2)), high=float(rng.uniform(-9, 9)), ramp=ramp)
                )
        parts.append(session.read(BLOCK).samples)
        journal.write(session.journal())
    journal.write([{"type": "end", "position": session.position}])
    journal.close()
    again = [chunk.samples for chunk in replay(model(), read_journal(tmp_path / "j"))]
    assert np.array_equal(np.concatenate(again, axis=1), np.concatenate(parts, axis=1))
