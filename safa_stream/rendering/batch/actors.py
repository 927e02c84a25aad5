"""Workers of a batch on a Ray cluster: an actor a slot, each with its own model and one job at a time.

A worker that dies, whose node is lost or that falls silent is replaced, and its job waits again (batch.line). No more
jobs are under way than there are workers, and no more of their sound is in the object store than a piece.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safa_stream.errors import ClusterError, OutputError
from safa_stream.models import is_pretrained
from safa_stream.models.backends.spec import AUTO, Backend, parse
from safa_stream.rayclusters import Cluster, one_line
from safa_stream.rendering.batch.fetching import fetch
from safa_stream.rendering.batch.jobs import Job
from safa_stream.rendering.batch.ledger import Entry
from safa_stream.rendering.batch.line import TRIES, Line
from safa_stream.rendering.batch.remote import Begun, Finished, Renderer
from safa_stream.rendering.batch.shared import Probe, probing
from safa_stream.rendering.batch.workers import sweep

#: Seconds without an answer after which a worker counts as lost; it answers while it renders.
SILENCE = 60.0
#: Seconds after which it is said what workers wait for, and for which workers may clean up at the end.
PATIENCE, ENDING = 5.0, 10.0
#: What may be called while a job is made.
ASIDE = "aside"


@dataclass(frozen=True, slots=True)
class Actors:
    """Workers of a cluster. count: how many; gpu: whether each takes a GPU beside its CPU; say: told what operators
    want to know, in lines; silence: see SILENCE."""

    cluster: Cluster
    count: int
    gpu: bool = False
    say: Callable[[str], None] = lambda line: None
    silence: float = SILENCE

    def perform(self, jobs: Sequence[Job], folder: Path, backend: str) -> Generator[Entry]:
        """See Workers. Raises ClusterError where no worker can begin or the cluster is lost."""
        with probing(folder) as probe:
            crew = _Crew(self, Line(jobs), folder, probe, backend)
            try:
                yield from crew.work()
            finally:
                crew.end()


def wants_gpu(cluster: Cluster, jobs: Sequence[Job], backend: str) -> bool:
    """Whether workers take GPUs: a backend of CUDA does, "auto" for pretrained models where the cluster has any."""
    if backend != AUTO:
        return parse(backend).facts.device == "cuda"
    pretrained = any(is_pretrained(job.scene.model) for job in jobs)
    return pretrained and cluster.ray.cluster_resources().get("GPU", 0) >= 1


def slots(cluster: Cluster, gpu: bool) -> int:
    """How many workers the cluster has room for, with nothing else on it."""
    return int(cluster.ray.cluster_resources().get("GPU" if gpu else "CPU", 0))


@dataclass(slots=True, eq=False)
class _Slot:
    """A worker as the driver sees it. ref: of what it was asked to do; ping, asked: when it was asked if it lives."""

    actor: Any
    ref: Any
    begun: Begun | None = None
    job: Job | None = None
    ping: Any = None
    asked: float = 0.0


class _Crew:
    """The workers of one `perform`, and the line that they work off."""

    def __init__(self, actors: Actors, line: Line, folder: Path, probe: Probe, backend: str) -> None:
        self._ray, self._say, self._silence = actors.cluster.ray, actors.say, actors.silence
        self._count, self._resource = actors.count, "GPU" if actors.gpu else "CPU"
        self._line, self._folder, self._backend = line, folder, backend
        self._kind = self._ray.remote(
            num_cpus=1, num_gpus=int(actors.gpu), max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD",
            concurrency_groups={ASIDE: 2},
        )(Renderer)  # fmt: skip
        self._probe = probe
        self._slots: list[_Slot] = []
        self._stillborn, self._opened, self._said = 0, time.monotonic(), set[str]()

    def work(self) -> Generator[Entry]:
        """One entry a job, as they end."""
        while len(self._line) or any(slot.job for slot in self._slots):
            self._open()
            waiting = {slot.ref: slot for slot in self._slots if slot.ref is not None}
            for ref in self._ray.wait(list(waiting), timeout=min(1.0, self._silence / 4))[0]:
                yield from self._answered(waiting[ref])
            yield from self._listen()
            self._tell_waiting()

    def end(self) -> None:
        """All workers go; what they had begun of files goes with them."""
        refs = [slot.ref for slot in self._slots if slot.job is not None]
        with suppress(Exception):
            for slot in self._slots:
                self._aside(slot, "end")
            if refs:
                self._ray.wait(refs, num_returns=len(refs), timeout=ENDING)
            cleared = [self._aside(slot, "clear") for slot in self._slots if slot.begun is not None]
            if cleared:
                self._ray.wait(cleared, num_returns=len(cleared), timeout=ENDING)
        for slot in self._slots:
            with suppress(Exception):
                self._ray.kill(slot.actor)
            if slot.job is not None:
                sweep(self._folder / slot.job.out)
        self._slots.clear()

    def _open(self) -> None:
        """As many workers as are of use, and a job for each that has none."""
        for slot in self._slots:
            if slot.begun is not None and slot.ref is None:
                self._give(slot)
        if not self._slots:
            self._stillborn = 0
        wanted = min(self._count, len(self._line) + sum(slot.job is not None for slot in self._slots))
        while len(self._slots) < wanted and self._stillborn < TRIES:
            actor = self._kind.remote(self._probe)
            self._slots.append(_Slot(actor, actor.begin.remote()))

    def _give(self, slot: _Slot) -> None:
        slot.job = self._line.next()
        slot.ref = None if slot.job is None else slot.actor.make.remote(slot.job, self._backend_of(slot.job))

    def _answered(self, slot: _Slot) -> Generator[Entry]:
        """A worker has begun, or has finished its job, or never will."""
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(slot.ref)
        except (errors.RayTaskError, errors.ObjectStoreFullError, errors.OutOfDiskError) as error:
            # The worker lives; what it was asked to do is what failed.
            job, slot.job, slot.ref = slot.job, None, None
            if job is None:
                yield from self._lost(slot, one_line(error))
            else:
                yield Entry(job.key, job.out, one_line(error))
            return
        except errors.RayError as error:
            yield from self._lost(slot, one_line(error))
            return
        slot.ref = None
        if isinstance(answer, Begun):
            slot.begun, self._stillborn = answer, 0
            self._tell_storage(answer)
            self._give(slot)
        elif slot.job is not None:
            job = slot.job
            # The next job first: the worker makes it while its last one's files are fetched.
            self._give(slot)
            yield from self._kept(slot, job, answer)

    def _kept(self, slot: _Slot, job: Job, made: Finished) -> Generator[Entry]:
        """The job's entry, its files where the batch wants them."""
        errors = self._ray.exceptions
        try:
            fetch(made, self._folder, lambda name, start: self._piece(slot, name, start))
        except (OutputError, errors.RayTaskError, errors.ObjectStoreFullError, errors.OutOfDiskError) as error:
            yield Entry(job.key, job.out, one_line(error), made.entry.wall)
        except errors.RayError as error:
            yield from self._again(job, one_line(error))
            yield from self._lost(slot, one_line(error))
            return
        else:
            yield replace(made.entry, made=self._placed(job, made.entry.made))
        if made.files:
            self._aside(slot, "drop", tuple(name for name, _ in made.files))

    def _piece(self, slot: _Slot, name: str, start: int) -> bytes:
        data: bytes = self._ray.get(self._aside(slot, "piece", name, start), timeout=self._silence)
        return data

    def _listen(self) -> Generator[Entry]:
        """Ask busy workers now and then whether they live; who does not answer for long is lost."""
        asked = [slot.ping for slot in self._slots if slot.ping is not None]
        answered = self._ray.wait(asked, num_returns=len(asked), timeout=0)[0] if asked else []
        now = time.monotonic()
        for slot in [slot for slot in self._slots if slot.job is not None]:
            if slot.ping is None or slot.ping in answered:
                if now - slot.asked >= self._silence / 4:
                    slot.ping, slot.asked = self._aside(slot, "alive"), now
            elif now - slot.asked > self._silence:
                yield from self._lost(slot, f"it did not answer for {self._silence:g} s")

    def _lost(self, slot: _Slot, why: str) -> Generator[Entry]:
        with suppress(Exception):
            self._ray.kill(slot.actor)
        if slot in self._slots:
            self._slots.remove(slot)
        if slot.begun is None:
            self._stillborn += 1
            if self._stillborn >= TRIES and not self._slots:
                raise ClusterError(f"workers cannot begin on the cluster: {why}")
        if slot.job is not None:
            yield from self._again(slot.job, why)

    def _again(self, job: Job, why: str) -> Generator[Entry]:
        given_up = self._line.lost(job, why)
        if given_up is not None:
            sweep(self._folder / job.out)
            yield given_up

    def _aside(self, slot: _Slot, name: str, *words: Any) -> Any:
        return getattr(slot.actor, name).options(concurrency_group=ASIDE).remote(*words)

    def _backend_of(self, job: Job) -> str:
        """A worker with one CPU computes on one thread, where no backend was named."""
        if self._backend != AUTO or self._resource == "GPU" or is_pretrained(job.scene.model):
            return self._backend
        return str(Backend(threads=1))

    def _placed(self, job: Job, made: dict[str, Any] | None) -> dict[str, Any] | None:
        """What is said of the files, with the names that they have here."""
        output = job.output(self._folder)
        picture = None if output.spectrogram is None else str(output.spectrogram)
        return None if made is None else {**made, "file": str(output.path), "spectrogram": picture}

    def _tell_storage(self, begun: Begun) -> None:
        if begun.shares:
            self._say_once("shared", f"workers write into {self._folder} themselves: it is the same folder there")
        else:
            said = f"{begun.node} does not see {self._folder}: files come back in pieces and are written here"
            self._say_once("sent", said)

    def _tell_waiting(self) -> None:
        if time.monotonic() - self._opened < PATIENCE or any(slot.begun for slot in self._slots):
            return
        try:
            there = self._ray.cluster_resources().get(self._resource, 0)
            free = self._ray.available_resources().get(self._resource, 0)
        except Exception as error:
            raise ClusterError(
                f"the cluster does not answer any more, repeat the command: {one_line(error)}"
            ) from error
        # Free ones are on their way to be taken: a process takes a while to begin.
        said = f"waiting for workers, each takes a {self._resource}: the cluster has {there:g}, {free:g} of them free"
        self._say_once("waiting", said)

    def _say_once(self, what: str, line: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(line)
