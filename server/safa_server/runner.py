"""The one thread that owns the engine: it fills the denoiser's batches with the views of all sessions.

    decide   what all layers want, in the order of schedule.py; start the views that come first
    compute  decode the most urgent view if its steps are made, else one solver step of it and of what may go along
    account  real-time factor, step and decode times, batch sizes, steps that were saved, what was thrown away

What takes long (denoising, decoding) is done without any session's lock.
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

from safa_server.live import Live
from safa_server.pace import Pace, measured
from safa_server.schedule import Plan, before, plan, together
from safa_server.telemetry.observer import NOBODY, Observer
from safa_server.wishes import Wish, wishes_of
from safa_stream.errors import FailureError, SafaError
from safa_stream.models.interface import Model
from safa_stream.session.livescene import LiveScene
from safa_stream.session.session import Session
from safa_stream.session.work import Work
from safa_stream.stream import View, step_views
from safa_stream.types import Steps

log = logging.getLogger("safa_server.runner")

#: Solver steps that a view which is short of time is made with, as shares of what was asked for.
FEWER = (1.0, 0.75, 0.5, 0.34)
#: Share of the measured speed that sessions may use up; the rest is for what comes unforeseen.
USABLE = 0.9
LEAST_STEPS = 2
#: The engine looks for work at least so often, seconds.
IDLE_SECONDS = 0.05


class AdmissionError(FailureError):
    """No more sessions or layers can be kept fed. retry_after: seconds after which asking again makes sense; cause:
    in a word, for who counts: "speed", "sessions", "draining"."""

    def __init__(self, reason: str, retry_after: float, cause: str = "speed") -> None:
        super().__init__(reason)
        self.retry_after, self.cause = retry_after, cause


class Runner:
    """Start it, give it sessions, stop it. Methods may be called from any thread. observer: told what views do."""

    def __init__(self, model: Model, largest_layers: int | None = None, observer: Observer = NOBODY) -> None:
        self.model, self.largest_layers, self.observer = model, largest_layers, observer
        self.pace = Pace()
        self._lives: list[Live] = []
        self._begun: dict[Work, tuple[Live, float]] = {}
        self._changed = threading.Condition()
        self._jobs: deque[tuple[Steps[Any], Future[Any]]] = deque()
        self._urgent: deque[tuple[Steps[Any], Future[Any]]] = deque()
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
    def room(self) -> int:
        """How many layers in real time are taken."""
        return max(1, int(self.bound * USABLE) if self.largest_layers is None else self.largest_layers)

    @property
    def layers(self) -> int:
        """Layers in real time that are kept fed now; one of many channels counts once for each of its groups."""
        with self._changed:
            lives = list(self._lives)
        return sum(len(live.session.state.layers) * live.groups for live in lives if live.urgent)

    def admit(self, layers: int, groups: int = 1) -> None:
        """Raise AdmissionError where so many more layers, of so many groups of channels, could not be kept fed."""
        room = self.room
        busy, more = self.layers, layers * groups
        if busy + more > room:
            self.pace.refused += 1
            counted = "" if groups == 1 else f" (a layer of these channels counts {groups} times)"
            raise AdmissionError(
                f"this machine keeps {room} layer(s) fed in real time and {busy} are playing; "
                f"{more} more{counted} would make all of them stutter",
                retry_after=10.0,
            )

    def open(self, scene: LiveScene, lead_seconds: float, urgent: bool) -> Live:
        """A new session. Raises AdmissionError, or UsageError for a scene that cannot be made."""
        session = Session.begin(self.model, scene)
        if urgent:
            self.admit(len(scene.layers), session.state.model.facts.groups)
        return self.adopt(session, lead_seconds, urgent)

    def adopt(self, session: Session, lead_seconds: float, urgent: bool, held: int = 0) -> Live:
        """Keep a session fed that exists already. held: see Live."""
        live = Live(session, lead_seconds, urgent, held)
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
        self.observer.closed(live)

    def run(self, job: Steps[Any], urgent: bool = False) -> Future[Any]:
        """Do something else on the engine's thread, a step at a time. What it raises is in the future.

        urgent: before all views; otherwise when none is pressing.
        """
        future: Future[Any] = Future()
        with self._changed:
            (self._urgent if urgent else self._jobs).append((job, future))
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
            if self._advance_a_job(self._urgent):
                continue
            wishes = wishes_of(lives, self.pace)
            self._forget(wishes)
            needs = [wish.need for wish in wishes]
            found = plan(needs, self.pace.unit * max((live.groups for live in lives), default=1))
            if self._begin_views(wishes, found):
                continue  # what was begun is known better than what was wished
            busy = not found.tight and self._advance_a_job(self._jobs)
            able = [number for number in found.order if _can_go_on(wishes[number])]
            if able:
                self._work(wishes, found, able)
            elif not busy:
                with self._changed:
                    if not self._stopping:
                        self._changed.wait(IDLE_SECONDS)

    def _work(self, wishes: list[Wish], found: Plan, able: list[int]) -> None:
        """Decode the most urgent view, or make a step of it and of those that share its batch."""
        needs = [wish.need for wish in wishes]
        works = {n: work for n in able if (work := wishes[n].work) is not None}
        head = works[able[0]]
        if head.view.done:
            self._finish(wishes[able[0]].live, head)
            return
        length = head.view.plan.layout.view
        alike = [n for n, work in works.items() if not work.view.done and work.view.plan.layout.view == length]
        chosen = together(needs, found, alike, self.pace.row_seconds, self.pace.largest_batch)
        self._step([(wishes[n].live, works[n]) for n in chosen])

    def _advance_a_job(self, jobs: deque[tuple[Steps[Any], Future[Any]]]) -> bool:
        """One step of the oldest job; whether there was one."""
        with self._changed:
            if not jobs:
                return False
            steps, future = jobs[0]
        if not future.running() and not future.set_running_or_notify_cancel():
            self._end_job(jobs)
            return True
        try:
            next(steps)
            return True
        except StopIteration as end:
            future.set_result(end.value)
        except Exception as error:  # it belongs to whoever waits for the result
            future.set_exception(error)
        self._end_job(jobs)
        return True

    def _end_job(self, jobs: deque[tuple[Steps[Any], Future[Any]]]) -> None:
        with self._changed:
            jobs.popleft()

    def _forget(self, wishes: list[Wish]) -> None:
        """Views that are not wanted any more, and what was made of them."""
        going, now = {wish.work for wish in wishes}, time.perf_counter()
        for work in [work for work in self._begun if work not in going]:
            live, _ = self._begun.pop(work)
            live.account.throw(self._hop_seconds(work) * work.view.index / work.making.steps, now)
            self.observer.gave_up(live, work)

    def _begin_views(self, wishes: list[Wish], found: Plan) -> bool:
        """Start views that come first; no more than are worked on together, as a later start hears of more."""
        started = False
        for number in found.order[: self.pace.parallel]:
            wish = wishes[number]
            if wish.work is None:
                ahead = before([each.need for each in wishes], found, number)
                started |= self._begin(wish.live, wish.layer, ahead)
        return started

    def _begin(self, live: Live, number: int, ahead: float) -> bool:
        """Start a view, unless it is not wanted any more. ahead: engine seconds of work that goes before it."""
        with live.lock:
            if live.closed or number not in live.session.wanting(live.lead_seconds):
                return False
            try:
                steps = self._steps_for(live, number, ahead)
                work = live.session.start(number, steps, self.pace.view_seconds * live.groups)
            except SafaError as error:
                live.failure = str(error)
                return True
            except Exception as error:  # whatever a model raises must not end the other sessions
                self._failed(live, error)
                return True
            self.observer.began(live, work)
        self.pace.views_with_fewer_steps += steps is not None
        self._begun[work] = (live, time.perf_counter())
        return True

    def _steps_for(self, live: Live, number: int, ahead: float) -> int | None:
        """Fewer steps than asked for where a full view would come too late, else None."""
        if not live.urgent:
            return None
        lead, wanted = live.session.lead(number), live.session.wanted_steps(number)
        # Views of all layers have to fit into the time that they sound, whatever steps one of them asks for.
        hop = live.session.state.layers[number].hop / self.model.facts.frames_per_second
        most = max(LEAST_STEPS, int(USABLE * hop / (self.pace.row_seconds * max(1, self.layers))))
        steps = min(wanted, most)
        for part in FEWER if math.isfinite(lead) else ():
            steps = min(most, max(LEAST_STEPS, round(part * wanted)))
            if ahead + self.pace.left(steps, live.groups, live.groups) < lead:
                break
        return steps if steps < wanted else None

    def _step(self, chosen: list[tuple[Live, Work]]) -> None:
        """One step of views that share a batch."""
        began = time.perf_counter()
        views = [work.view for _, work in chosen]
        rows = sum(view.rows for view in views)
        failed = self._step_views(views)
        spent = time.perf_counter() - began
        self.pace.stepped(spent, rows)
        self.observer.stepped([work for _, work in chosen], rows, spent)
        for live, work in chosen:
            if work.view in failed:
                self._failed(live, failed[work.view])

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

    def _finish(self, live: Live, work: Work) -> None:
        """Decode a view whose steps are made, and give it to its session."""
        began = time.perf_counter()
        _, since = self._begun.pop(work)
        try:
            finished = work.finish()
        except Exception as error:  # whatever a model raises must not end the other sessions
            self._failed(live, error)
            return
        now, hop = time.perf_counter(), self._hop_seconds(work)
        self.pace.decode.add((now - began) / live.groups)
        made = None
        with live.lock:
            if not live.closed:
                before = self._ahead(live, work.layer)
                made = live.session.complete(finished, now - since)
                live.account.throw(hop - (self._ahead(live, work.layer) - before), now)
        self.observer.decoded(live, work, now - began, None if made is None else max(made.position, made.start))
        self.pace.finished((now - since) / live.groups, work.making.steps, hop)
        if self.after_view is not None:
            try:
                self.after_view(live)
            except Exception as error:  # what is done beside the sound must not end it
                log.error("after a view: %s: %s", type(error).__name__, error)

    def _hop_seconds(self, work: Work) -> float:
        """Sound that a view adds."""
        return work.view.plan.layout.hop / self.model.facts.frames_per_second

    def _ahead(self, live: Live, number: int) -> float:
        """Seconds of sound that a layer has ahead, heard or not."""
        layer = live.session.state.layers.get(number)
        return 0.0 if layer is None else (layer.sound.end - live.session.position) / live.session.rate

    def _failed(self, live: Live, error: Exception) -> None:
        self.pace.failures += 1
        log.error("a session's view failed: %s: %s", type(error).__name__, error)
        live.failure = f"{type(error).__name__}: {error}"


def _can_go_on(wish: Wish) -> bool:
    return wish.work is not None and not (wish.work.view.done and wish.live.held)
