from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from safa_server.live import Live
from safa_server.pace import FEW
from safa_server.runner import AdmissionError, Runner
from safa_stream.scene import parse_prompts
from safa_stream.session import messages as m
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.types import Steps
from tests.server.ws_rig import toy_48k
from tests.toy import ToyModel

BLOCK = 960
HIGH = [{"prompts": "high", "seed": 0, "weight": 1.0}]


@dataclass
class SlowModel(ToyModel):
    """The toy on a slow machine: every row of a batch takes `row_seconds`; prompts in `broken` make it fail."""

    row_seconds: float = 0.0
    asked: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def denoise(self, latents: Any, *rest: Any) -> Any:
        """As the toy, later."""
        if self.faults:
            raise RuntimeError(self.faults.pop())
        self.asked.append(len(latents))
        time.sleep(self.row_seconds * len(latents))
        return super().denoise(latents, *rest)


def slow(row_seconds: float) -> SlowModel:
    toy = toy_48k()
    return SlowModel(facts=toy.facts, sampled_decoder=toy.sampled_decoder, row_seconds=row_seconds)


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner(slow(0.0), largest_layers=20)
    runner.start()
    yield runner
    runner.stop()


def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def hear(live: Live, seconds: float) -> np.ndarray:
    """Read in real time, as a live clock does."""
    parts = []
    for _ in range(round(seconds * 50)):
        with live.lock:
            parts.append(live.session.read(BLOCK).samples)
        time.sleep(0.02)
    return np.concatenate(parts, axis=1)


def events(live: Live, kind: type[m.Event]) -> list[Any]:
    with live.lock:
        return [event for event in live.session.events() if isinstance(event, kind)]


def test_sessions_are_kept_fed_up_to_their_lead(runner: Runner) -> None:
    lives = [runner.open(LiveScene.from_value(prompt), 4.0, urgent=True) for prompt in ("low", "high", "low, high")]
    until(lambda: all(live.session.ready() > 4 * 48_000 for live in lives))
    time.sleep(0.2)
    made = runner.pace.views
    time.sleep(0.5)
    assert runner.pace.views == made, "nothing is made beyond the lead"
    for live in lives:
        hear(live, 0.4)
        assert not events(live, m.BedBegan)


def test_what_cannot_be_kept_fed_is_refused_with_a_reason() -> None:
    runner = Runner(slow(0.02))
    runner.start()
    try:
        # A view takes its steps' time at least; a busy machine takes longer.
        assert 0 < runner.bound <= 12
        opened = 0
        with pytest.raises(AdmissionError, match="keeps .* fed in real time") as refused:
            for _ in range(20):
                runner.open(LiveScene.from_value("low"), 3.0, urgent=True)
                opened += 1
        assert refused.value.retry_after > 0
        assert opened >= 1
        # Sessions that wait for their listeners take what is left and are not counted.
        runner.open(LiveScene.from_value("low"), 3.0, urgent=False)
        assert runner.pace.refused == 1
    finally:
        runner.stop()


def test_short_of_time_views_are_made_with_fewer_steps_before_a_bed_is_needed() -> None:
    runner = Runner(slow(0.01), largest_layers=20)
    runner.start()
    try:
        live = runner.open(LiveScene.from_value("low"), 1.0, urgent=True)
        until(lambda: live.session.ready() > 0)
        # A machine that has become three times as slow: a full view would take longer than what is ahead.
        runner.pace.row_seconds = live.session.lead(0) / 6
        with live.lock:
            live.session.receive(m.Configure(steps=12))
        hear(live, 1.0)
        until(lambda: runner.pace.views_with_fewer_steps > 0)
        assert any(event.steps < event.wanted for event in events(live, m.FewerSteps))
    finally:
        runner.stop()


def test_batches_are_small_where_large_ones_are_not_faster() -> None:
    model = slow(0.02)
    runner = Runner(model, largest_layers=20)
    runner.start()
    runner.pace.parallel = FEW  # as it is measured, on a machine that has nothing else to do
    try:
        measuring = len(model.asked)
        lives = [runner.open(LiveScene.from_value("low"), 4.0, urgent=True) for _ in range(6)]
        until(lambda: all(live.session.ready() > 2 * 48_000 for live in lives), 30.0)
        assert 1 < max(model.asked[measuring:]) <= runner.pace.largest_batch == 4
    finally:
        runner.stop()


def test_a_change_with_now_goes_before_views_that_can_wait(runner: Runner) -> None:
    others = [runner.open(LiveScene.from_value("low"), 6.0, urgent=True) for _ in range(4)]
    live = runner.open(LiveScene.from_value("low"), 6.0, urgent=True)
    until(lambda: all(one.session.ready() > 0 for one in (*others, live)))
    hear(live, 0.2)
    with live.lock:
        live.session.receive(m.Prompt(prompts=parse_prompts("high"), now=True, morph=0.0))
    runner.wake()
    until(lambda: len(hear(live, 0.1)) and live.session.provenance()["layers"][0]["prompts"] == HIGH)


def test_a_session_that_throws_its_views_away_waits_for_the_others() -> None:
    """One that is cut all the time is always dry itself, and takes no more than its share from another."""
    # The quiet one needs half of the engine, so that a busy machine leaves it enough.
    runner = Runner(slow(0.05), largest_layers=20)
    runner.start()
    try:
        quiet, loud = (runner.open(LiveScene.from_value("low"), 4.0, urgent=True) for _ in range(2))
        until(lambda: all(one.session.ready() > 2 * 48_000 for one in (quiet, loud)))
        most = 0.0
        for turn in range(400):
            with loud.lock:
                word = ("low", "high")[turn % 2]
                loud.session.receive(m.Prompt(prompts=parse_prompts(word), now=True, morph=0.0))
                loud.session.read(BLOCK)
            runner.wake()
            hear(quiet, 0.02)
            most = max(most, loud.account.thrown)
        assert not events(quiet, m.BedBegan), "it never ran dry"
        # How much is made to be thrown away, and when, is up to the machine; that it is counted is not.
        assert most > 1.0 > 0.1 > quiet.account.thrown
    finally:
        runner.stop()


def test_a_model_that_fails_ends_its_session_and_no_other(runner: Runner) -> None:
    healthy = runner.open(LiveScene.from_value("low"), 3.0, urgent=True)
    until(lambda: healthy.session.ready() > 3 * 48_000)
    model = runner.model
    assert isinstance(model, SlowModel)
    model.faults.append("out of memory")
    broken = runner.open(LiveScene.from_value("high"), 3.0, urgent=True)
    until(lambda: broken.failure is not None)
    assert broken.failure == "RuntimeError: out of memory"
    before = healthy.session.state.layers[0].sound.end
    hear(healthy, 1.5)
    until(lambda: healthy.session.state.layers[0].sound.end > before)
    assert healthy.failure is None


def test_jobs_run_on_the_engine_and_give_back_what_they_raise(runner: Runner) -> None:
    def product(a: int, b: int) -> Steps[int]:
        total = 0
        for _ in range(a):
            total += b
            yield
        return total

    def wrong() -> Steps[int]:
        yield
        return 1 // 0

    assert runner.run(product(6, 7)).result(5) == 42
    with pytest.raises(ZeroDivisionError):
        runner.run(wrong()).result(5)


def test_a_long_job_does_not_hold_up_views(runner: Runner) -> None:
    """A job of a thousand steps of 20 ms: views are begun and finished in between."""
    ended = threading.Event()

    def long() -> Steps[None]:
        while not ended.is_set():
            time.sleep(0.02)
            yield

    job = runner.run(long())
    live = runner.open(LiveScene.from_value("low"), 3.0, urgent=True)
    until(lambda: live.session.begun)
    ended.set()
    assert job.result(5) is None


def test_closed_sessions_are_forgotten(runner: Runner) -> None:
    live = runner.open(LiveScene.from_value("low"), 30.0, urgent=True)
    runner.close(live)
    assert runner.layers == 0
    with pytest.raises(Exception, match="no word|low|prompt|layers"):
        runner.open(replace(LiveScene.from_value("low"), layers=()), 3.0, urgent=True)
    assert runner.layers == 0


def test_one_sessions_changes_do_not_make_another_run_dry() -> None:
    runner = Runner(slow(0.004), largest_layers=20)
    runner.start()
    try:
        quiet = runner.open(LiveScene.from_value("low"), 2.0, urgent=True)
        eager = runner.open(LiveScene.from_value("low"), 2.0, urgent=True)
        until(lambda: quiet.session.ready() > 0 and eager.session.ready() > 0)
        with eager.lock:
            eager.session.receive(m.Configure(steps=1000))
        for turn in range(150):
            with eager.lock:
                eager.session.receive(m.Prompt(prompts=parse_prompts("high" if turn % 2 else "low"), now=True))
            runner.wake()
            for live in (quiet, eager):
                with live.lock:
                    live.session.read(BLOCK)
            time.sleep(0.02)
        assert not events(quiet, m.BedBegan)
    finally:
        runner.stop()


def test_a_view_that_fails_takes_none_of_its_batch_along() -> None:
    model = slow(0.0)
    runner = Runner(model)
    views = [Session.begin(model, LiveScene.from_value("low")).start(0).view for _ in range(3)]
    model.faults += ["alone", "together"]
    failed = runner._step_views(views)
    assert {view: str(error) for view, error in failed.items()} == {views[0]: "alone"}
    assert [view.index for view in views] == [0, 1, 1]


@pytest.mark.parametrize("heard", [False, True])
def test_what_may_have_been_heard_of_a_restored_session_is_not_changed(
    runner: Runner, heard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change with `now` waits for the sample up to which it may have been heard, or for who has heard it."""
    monkeypatch.setattr("safa_server.live.SOON_SECONDS", 0.0)
    plain, kept = (runner.open(LiveScene.from_value("low"), 4.0, urgent=False) for _ in range(2))
    until(lambda: all(live.session.ready() > 4 * 48_000 for live in (plain, kept)))
    runner.close(kept)
    live = runner.adopt(kept.session, 4.0, urgent=False, held=24_000)
    with live.lock:
        live.session.receive(m.Prompt(prompts=parse_prompts("high"), layer=0, now=True))
    runner.wake()
    time.sleep(0.3)
    if heard:
        live.heard()
        time.sleep(0.3)

    unchanged = plain.session.read(48_000).samples
    found = np.concatenate([live.session.read(24_000).samples, _after_a_moment(live)], axis=1)
    changed = np.flatnonzero((found != unchanged).any(0))
    assert len(changed), "the change came"
    assert (changed[0] < 24_000) == heard


def _after_a_moment(live: Live) -> np.ndarray:
    time.sleep(0.3)
    with live.lock:
        return live.session.read(24_000).samples
