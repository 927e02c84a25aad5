"""Whatever a session is asked: it is never silent, and wherever its engine ends it goes on as if nothing had been."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa_server.blocks import BLOCK, Blocks
from safa_server.live import Live
from safa_server.measuring.day.model import FormulaModel
from safa_server.requests import OpenRequest
from safa_server.secret import Secret
from safa_server.storage import JOURNAL, Storage
from safa_stream.errors import UsageError
from safa_stream.scene import WeightedPrompt
from safa_stream.session import messages as m
from safa_stream.session.journal import Journal, read_journal
from safa_stream.session.livescene import LiveScene
from safa_stream.session.replay import replay
from safa_stream.session.session import Session
from safa_stream.stream import step_views
from tests.session.stage import feed

SOUNDS = ("rain", "wind", "birds", "traffic")
RATE = FormulaModel.facts.sample_rate
#: A view of this model lasts 40 s, a block .48 s: so long a session is to be ahead, and so much happens in all.
LEAD, DEEDS = 60.0, 60


class Performance:
    """A session to which things happen by chance: sound is read, views begin and end, commands come."""

    def __init__(self, session: Session, chance: random.Random) -> None:
        self.blocks, self.chance = Blocks(session), chance
        self.lines: list[dict[str, Any]] = []

    @property
    def session(self) -> Session:
        return self.blocks.session

    def happen(self) -> np.ndarray:
        """One deed by chance; what is heard of it [N, layers and all, channels, BLOCK]."""
        deed = self.chance.choice(("read", "start", "complete", "command", "command"))
        heard = []
        if deed == "read":
            heard = [self._read() for _ in range(self.chance.randint(1, 40))]
        elif deed == "start":
            self._start()
        elif deed == "complete":
            self._complete()
        else:
            self._command()
        self.lines += self.session.journal()
        return np.array(heard, np.float32)

    def _read(self) -> np.ndarray:
        layers = tuple(range(3))
        block = self.blocks.next(layers)
        return np.stack([block.samples, *(block.of(layer) for layer in layers)])

    def _start(self) -> None:
        for layer in self.session.wanting(3 * LEAD):
            self.session.start(layer, self.chance.choice((None, 1)), self.chance.uniform(0.0, 2.0))

    def _complete(self) -> None:
        making = [layer.work for layer in self.session.state.layers.values() if layer.work is not None]
        if making:
            work = self.chance.choice(making)
            while not work.view.done:
                step_views(self.session.state.model, [work.view])
            self.session.complete(work.finish())

    def _command(self) -> None:
        command = self.chance.choice(KINDS)(self.chance, self.session)
        with suppress(UsageError):  # there is no such layer, say, or too little was heard
            self.session.receive(command)


def _prompts(chance: random.Random) -> tuple[WeightedPrompt, ...]:
    return tuple(WeightedPrompt(text, 1.0) for text in chance.sample(SOUNDS, chance.randint(1, 2)))


def _layer(chance: random.Random) -> int:
    return chance.choice((0, 0, 1, 2))


def _at(chance: random.Random, session: Session) -> int | None:
    return chance.choice((None, session.position + chance.randint(1, 40 * RATE)))


KINDS = (
    lambda c, s: m.Prompt(prompts=_prompts(c), layer=_layer(c), morph=c.choice((0.0, 3.0, 30.0)), at=_at(c, s)),
    lambda c, s: m.Prompt(prompts=_prompts(c), layer=_layer(c), now=True),
    lambda c, s: m.Reseed(layer=_layer(c), seed=c.randrange(100), at=_at(c, s)),
    lambda c, s: m.Configure(layer=c.choice((None, 0, 1)), guidance=c.uniform(1.0, 2.0), steps=c.choice((None, 2, 3))),
    lambda c, s: m.Configure(reference_ratio=c.uniform(0.0, 0.9), hops=c.choice((None, "free", "1 bar", "beat"))),
    lambda c, s: m.AddLayer(prompts=_prompts(c), seed=c.randrange(100), ramp=c.choice((0.0, 2.0)), at=_at(c, s)),
    lambda c, s: m.RemoveLayer(layer=c.choice((1, 2)), ramp=c.choice((0.1, 2.0))),
    lambda c, s: m.Mix(layer=_layer(c), gain=c.uniform(-12.0, 0.0), pan=c.uniform(-1.0, 1.0), ramp=1.0),
    lambda c, s: m.Mix(layer=_layer(c), gain=c.uniform(-12.0, 0.0), ramp=4.0, at=_at(c, s)),
    lambda c, s: m.Reanchor(layer=_layer(c)),
    lambda c, s: m.Freeze(on=c.choice((True, False, False))),
    lambda c, s: m.Rewind(to=max(0, s.position - c.randint(0, 100 * RATE))),
    lambda c, s: m.Tempo(bpm=c.uniform(40.0, 200.0)),
    lambda c, s: m.SaveScene(scene="one"),
    lambda c, s: m.RecallScene(scene="one", morph=c.choice((0.0, 5.0)), at=_at(c, s)),
)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("pacing", ["live", "pull"])
def test_a_session_goes_on_wherever_it_is_cut_off(tmp_path: Path, seed: int, pacing: str) -> None:
    chance, model = random.Random(seed), FormulaModel()
    kept = Storage(tmp_path, model, least_seconds=0.0, longest_seconds=0.0)
    live = Live(Session.begin(model, LiveScene.from_value("rain")), LEAD, urgent=False)
    journal = kept.begin(live, "one", Secret.of("token"), OpenRequest("rain", pacing))
    one = Performance(live.session, chance)
    heard = []
    for _ in range(chance.randint(DEEDS // 3, DEEDS)):
        heard += [*one.happen()]
        _write(journal, one)
        if chance.random() < 0.1:
            kept.after_view(live)
    journal.close()
    restored = kept.restored(tmp_path / "one")
    restored.journal.close()

    # Views in the making were lost with the engine, and so they are here.
    one.session.forget_works()
    two = Performance(restored.blocks.session, chance)
    before = chance.getstate()
    after = [block for _ in range(DEEDS) for block in one.happen()]
    chance.setstate(before)
    again = [block for _ in range(DEEDS) for block in two.happen()]
    assert len(after) == len(again) and all(np.array_equal(a, b) for a, b in zip(after, again, strict=True))

    made = [chunk.samples for chunk in replay(model, read_journal(tmp_path / "one" / JOURNAL))]
    assert len(made) == len(heard)
    assert all(np.array_equal(a[0], b) for a, b in zip(heard, made, strict=True)), "the journal makes what was heard"


def _write(journal: Journal, one: Performance) -> None:
    lines, one.lines = one.lines, []
    journal.write([*lines, {"type": "at", "position": one.session.position}])


@pytest.mark.parametrize("seed", range(12))
def test_a_layer_that_is_fed_is_never_silent(seed: int) -> None:
    chance = random.Random(seed)
    session, lead = Session.begin(FormulaModel(), LiveScene.from_value("rain")), chance.choice((5.0, 20.0, 60.0, 110.0))
    heard = []
    for _ in range(40):
        for _ in range(chance.randint(1, 20)):
            while session.wanting(lead):
                feed(session, lead)
            heard.append(session.read_apart(BLOCK, (0,))[1][0])
        with suppress(UsageError):
            session.receive(chance.choice(TOLD)(chance, session))
    assert not [event for event in session.events() if isinstance(event, m.BedBegan)]
    sound = np.concatenate(heard, axis=1)[:, BLOCK:]
    pieces = np.sqrt(np.mean(sound[:, : sound.shape[1] // 60 * 60].reshape(2, -1, 60) ** 2, axis=(0, 2)))  # 30 ms each
    assert pieces.min() > 0.03 * np.median(pieces) and pieces.max() < 6 * np.median(pieces)


#: Commands about what the first layer is made of.
TOLD = (
    lambda c, s: m.Prompt(prompts=_prompts(c), layer=0, morph=c.choice((0.0, 3.0, 30.0)), at=_at(c, s)),
    lambda c, s: m.Prompt(prompts=_prompts(c), layer=0, now=True),
    lambda c, s: m.Prompt(prompts=_prompts(c), layer=0, quantise=c.choice(("beat", "bar", "4 bars"))),
    lambda c, s: m.Reseed(layer=0, seed=c.randrange(100), at=_at(c, s)),
    *(kind for kind in KINDS if not {"AddLayer", "RemoveLayer", "Mix"} & set(kind.__code__.co_names)),
)
