"""The one thread that owns the engine: it fills the denoiser's batches with the views of all sessions.

    decide   start views where a layer has too little ahead; order all views by who runs dry first
    compute  one solver step of as many as the most urgent one can wait for; decode what is done
    account  real-time factor, step and decode times, batch sizes, steps that were saved

`Live` is a session with its lock: the event loop reads sound and hands in commands, the engine's thread starts and
completes views. What takes long (denoising, decoding) is done without any lock.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from safa_server.fairness import Account
from safa_server.pace import Pace, measured
from safa_stream.errors import FailureError, SafaError
from safa_stream.models.interface import Model
from safa_stream.session.layer import Work
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.stream import View, step_views
from safa_stream.types import Steps

log = logging.getLogger("safa_server.runner")

#: Most rows of a denoiser batch.
LARGEST_BATCH = 16
#: A view is to be ready when this share of what its layer has ahead is still left.
SPARE_SHARE = 0.4
#: Solver steps that a view which is short of time is made with, as shares of what was asked for.
FEWER = (1.0, 0.75, 0.5, 0.34)
#: Share of the measured speed that sessions may use up; the rest is for what comes unforeseen.
USABLE = 0.9
#: A layer is short of sound when it has less ahead than so many views take to make.
SHORT_VIEWS = 3.0
#: Ranks of layers that want views: about to run dry; waiting for a change or for the first sound; either, but of a
#: session that took more than its due; and all others.
SHORT, WAITING, OWING, CAN_WAIT = 0, 1, 2, 3
#: A session owes when it took more than its share by the work of so many views; of so many at most it is remembered.
OWED_VIEWS, MOST_OWED_VIEWS = 2.0, 6.0
LEAST_STEPS = 2
#: The engine looks for work at least so often, seconds.
IDLE_SECONDS = 0.05


class AdmissionError(FailureError):
    """No more sessions or layers can be kept fed. retry_after: seconds after which asking again makes sense."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Live:
    """A session and its lock. `urgent`: its clock does not wait (pacing live)."""

    def __init__(self, session: Session, lead_seconds: float, urgent: bool) -> None:
        self.session, self.lead_seconds, self.urgent = session, lead_seconds, urgent
        self.lock = threading.Lock()
        self.closed = False
        self.failure: str | None = None
        self.account = Account(time.perf_counter())


class Runner:
    """Start it, give it sessions, stop it. Methods may be called from any thread."""

    def __init__(self, model: Model, largest_layers: int | None = None) -> None:
        self.model, self.largest_layers = model, largest_layers
        self.pace = Pace()
        self._lives: list[Live] = []
        self._works: list[tuple[Live, Work, float]] = []
        self._changed = threading.Condition()
        self._jobs: deque[tuple[Steps[Any], Future[Any]]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="safa-engine", daemon=True)
        self.after_view: Callable[[Live], None] | None = None

    def start(self) -> None:
        """Measure this machine, then begin to work."""
        self.pace = measured(self.model)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step that it is at."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    # Sessions ------------------------------------------------------------------------------------------------------

    @property
    def bound(self) -> float:
        """How many layers in real time this machine's measured speed allows."""
        return self.pace.real_time_factor

    @property
    def layers(self) -> int:
        """Layers in real time that are kept fed now."""
        with self._changed:
            lives = list(self._lives)
        return sum(len(live.session.state.layers) for live in lives if live.urgent)

    def admit(self, layers: int) -> None:
        """Raise AdmissionError where so many more layers could not be kept fed."""
        room = int(self.bound * USABLE) if self.largest_layers is None else self.largest_layers
        room = max(1, room)
        busy = self.layers
        if busy + layers > room:
            self.pace.refused += 1
            raise AdmissionError(
                f"this machine keeps {room} layer(s) fed in real time and {busy} are playing; "
                f"{layers} more would make all of them stutter",
                retry_after=10.0,
            )

    def open(self, scene: LiveScene, lead_seconds: float, urgent: bool) -> Live:
        """A new session. Raises AdmissionError, or UsageError for a scene that cannot be made."""
        if urgent:
            self.admit(len(scene.layers))
        return self.adopt(Session.begin(self.model, scene), lead_seconds, urgent)

    def adopt(self, session: Session, lead_seconds: float, urgent: bool) -> Live:
        """Keep a session fed that exists already."""
        live = Live(session, lead_seconds, urgent)
        with self._changed:
            self._lives.append(live)
            self._changed.notify()
        return live

    def close(self, live: Live) -> None:
        """Forget a session."""
        live.closed = True
        with self._changed:
            if live in self._lives:
                self._lives.remove(live)

    def run(self, job: Steps[Any]) -> Future[Any]:
        """Do something else on the engine's thread, a step at a time. What it raises is in the future."""
        future: Future[Any] = Future()
        with self._changed:
            self._jobs.append((job, future))
            self._changed.notify()
        return future

    def wake(self) -> None:
        """Look for work at once: a command has come."""
        with self._changed:
            self._changed.notify()

    # The thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                lives = list(self._lives)
            self._begin_views(lives)
            chosen = self._choose()
            short = any(self._is_short(live, work) for live, work, _ in chosen)
            busy = not short and self._advance_a_job()
            if not chosen and not busy:
                with self._changed:
                    if not self._stopping:
                        self._changed.wait(IDLE_SECONDS)
                continue
            try:
                if chosen:
                    self._step(chosen)
            except Exception as error:  # whatever a model raises must not end the other sessions
                self._fail(chosen, error)

    def _advance_a_job(self) -> bool:
        """One step of the oldest job, while nobody is short of sound; whether there was one."""
        with self._changed:
            if not self._jobs:
                return False
            steps, future = self._jobs[0]
        if not future.running() and not future.set_running_or_notify_cancel():
            self._end_job()
            return True
        try:
            next(steps)
            return True
        except StopIteration as end:
            future.set_result(end.value)
        except Exception as error:  # it belongs to whoever waits for the result
            future.set_exception(error)
        self._end_job()
        return True

    def _end_job(self) -> None:
        with self._changed:
            self._jobs.popleft()

    def _is_short(self, live: Live, work: Work) -> bool:
        """Whether a layer that is heard will soon have nothing more."""
        with live.lock:
            layer = live.session.state.layers.get(work.layer)
            if layer is None or layer.heard_from is None or not live.urgent:
                return False
            return layer.lead(live.session.position) / live.session.rate < self._short_seconds(live, work.layer)

    def _short_seconds(self, live: Live, number: int) -> float:
        """With less than this ahead a layer's next view comes before all that can wait."""
        return SHORT_VIEWS * self.pace.expected(live.session.wanted_steps(number))

    def _begin_views(self, lives: list[Live]) -> None:
        """Start views, the most urgent first; no more than are worked on together, as a later start hears of more."""
        wanting: list[tuple[tuple[bool, int, float], Live, int]] = []
        for live in lives:
            with live.lock:
                if not live.closed and live.failure is None:
                    for number in live.session.wanting(live.lead_seconds):
                        wanting.append((self._rank(live, number), live, number))
        wanting.sort(key=lambda entry: entry[0])
        for (_, rank, _), live, number in wanting:
            if len(self._works) >= self.pace.parallel and rank >= OWING:
                break
            with live.lock:
                if live.closed or number not in live.session.wanting(live.lead_seconds):
                    continue
                try:
                    steps = self._steps_for(live, number)
                    work = live.session.start(number, steps, self.pace.view_seconds)
                except SafaError as error:
                    live.failure = str(error)
                    continue
                except Exception as error:  # whatever a model raises must not end the other sessions
                    self._failed(live, error)
                    continue
            self.pace.views_with_fewer_steps += steps is not None
            self._works.append((live, work, time.perf_counter()))

    def _rank(self, live: Live, number: int) -> tuple[bool, int, float]:
        """Who goes first: layers that are heard and about to run dry, then those that wait for a change or their first
        sound, then all others by what they have left. So nobody's changes make others stutter; and neither do views
        that a session throws away: one that owes comes after all who do not, while they are short or waiting."""
        layer = live.session.state.layers[number]
        left = layer.lead(live.session.position) / live.session.rate
        short = layer.heard_from is not None and left < self._short_seconds(live, number)
        if not short and not live.session.is_waiting(number):
            return not live.urgent, CAN_WAIT, left
        owes = live.account.debt > OWED_VIEWS * self.pace.work(self.pace.steps)
        return not live.urgent, OWING if owes else SHORT if short else WAITING, left

    def _steps_for(self, live: Live, number: int) -> int | None:
        """Fewer steps than asked for where a full view would come too late, else None."""
        if not live.urgent:
            return None
        lead, wanted = live.session.lead(number), live.session.wanted_steps(number)
        # Views of all layers have to fit into the time that they sound, whatever steps one of them asks for.
        hop = live.session.state.layers[number].hop / self.model.facts.frames_per_second
        most = max(LEAST_STEPS, int(USABLE * hop / (self.pace.row_seconds * max(1, self.layers))))
        steps = min(wanted, most)
        waiting = sum(other.urgent for other, _, _ in self._works) + 1
        for share in FEWER if math.isfinite(lead) else ():
            steps = min(most, max(LEAST_STEPS, round(share * wanted)))
            if steps * self.pace.row_seconds * waiting + self.pace.decode.percentile(90) < lead:
                break
        return steps if steps < wanted else None

    def _choose(self) -> list[tuple[Live, Work, float]]:
        """The most urgent view, and others that may share its batch without making it late."""
        current = []
        for live, work, began in self._works:
            with live.lock:
                layer = live.session.state.layers.get(work.layer)
                if live.closed or layer is None or layer.work is not work:
                    continue
                key = self._rank(live, work.layer)
            current.append((key, (live, work, began)))
        self._works = [item for _, item in current]
        if not current:
            return []
        current.sort(key=lambda entry: entry[0])
        (_, rank, lead), head = current[0]
        left = head[1].making.steps - head[1].view.index
        ahead = max(0.0, lead - self.pace.decode.percentile(90))
        patience = {WAITING: 0.0, OWING: self.pace.view_seconds}.get(rank, ahead * (1 - SPARE_SHARE))
        chosen, rows = [head], head[1].view.rows
        for _, item in current[1:]:
            more = rows + item[1].view.rows
            alike = item[1].view.plan.layout.view == head[1].view.plan.layout.view
            if not alike or more > LARGEST_BATCH or left * more * self.pace.row_seconds > patience:
                continue
            chosen.append(item)
            rows = more
        return chosen

    def _step(self, chosen: list[tuple[Live, Work, float]]) -> None:
        began = time.perf_counter()
        views = [work.view for _, work, _ in chosen]
        rows = sum(view.rows for view in views)
        failed = self._step_views(views)
        spent = time.perf_counter() - began
        for live, _, _ in chosen:
            self._charge(live, spent / len(chosen))
        self.pace.stepped(spent, rows)
        for live, work, since in chosen:
            if work.view in failed:
                self._fail([(live, work, since)], failed[work.view])
            elif work.view.done:
                self._finish(live, work, since)

    def _step_views(self, views: list[View]) -> dict[View, Exception]:
        """One step of every view; those that fail, and why. What fails together is tried again alone."""
        before = [view.index for view in views]
        try:
            step_views(self.model, views)
            return {}
        except Exception as error:  # whatever a model raises
            if len(views) == 1:
                return {views[0]: error}
        failed: dict[View, Exception] = {}
        for view, index in zip(views, before, strict=True):
            if view.index == index:
                failed |= self._step_views([view])
        return failed

    def _finish(self, live: Live, work: Work, since: float) -> None:
        began = time.perf_counter()
        finished = work.finish()
        now = time.perf_counter()
        self.pace.decode.add(now - began)
        self._charge(live, now - began)
        self._works = [item for item in self._works if item[1] is not work]
        with live.lock:
            if not live.closed:
                live.session.complete(finished, now - since)
        self.pace.finished(
            now - since, work.making.steps, work.view.plan.layout.hop / self.model.facts.frames_per_second
        )
        if self.after_view is not None:
            try:
                self.after_view(live)
            except Exception as error:  # what is done beside the sound must not end it
                log.error("after a view: %s: %s", type(error).__name__, error)

    def _charge(self, live: Live, seconds: float) -> None:
        """Write engine time to a session's account."""
        with self._changed:
            sessions = sum(other.urgent for other in self._lives)
        most = MOST_OWED_VIEWS * self.pace.work(self.pace.steps)
        live.account.take(seconds, time.perf_counter(), 1 / max(1, sessions), most)

    def _fail(self, chosen: list[tuple[Live, Work, float]], error: Exception) -> None:
        for live, work, _ in chosen:
            self._works = [item for item in self._works if item[1] is not work]
            self._failed(live, error)

    def _failed(self, live: Live, error: Exception) -> None:
        self.pace.failures += 1
        log.error("a session's view failed: %s: %s", type(error).__name__, error)
        live.failure = f"{type(error).__name__}: {error}"
