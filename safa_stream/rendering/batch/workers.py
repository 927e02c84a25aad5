"""Who makes the files of a batch, and the usual answer: processes of this machine, each with its own model.

A worker that dies takes its jobs of the moment with it; they are tried again, once, in new processes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from glob import escape
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

from safa_stream.errors import SafaError
from safa_stream.models import is_pretrained, load
from safa_stream.models.backends.machine import here
from safa_stream.models.backends.spec import AUTO, Backend
from safa_stream.models.interface import Model
from safa_stream.rendering.batch.jobs import Job
from safa_stream.rendering.batch.ledger import Entry
from safa_stream.rendering.render import render
from safa_stream.rendering.source import Progress

#: How often a job is begun at most, where workers die.
TRIES = 2
DIED = "the worker died, as one that runs out of memory does; use fewer workers or shorter durations"


class Workers(Protocol):
    """Makes files of jobs, wherever."""

    @property
    def count(self) -> int:
        """How many jobs are made at once."""
        ...

    def perform(self, jobs: Sequence[Job], folder: Path, backend: str) -> Generator[Entry]:
        """One entry a job, in the order in which they end. Closing the iterator ends the work: no half file stays."""
        ...


@dataclass(frozen=True, slots=True)
class Processes:
    """Workers of this machine."""

    count: int

    def perform(self, jobs: Sequence[Job], folder: Path, backend: str) -> Generator[Entry]:
        """See Workers."""
        waiting = [(job, 1) for job in jobs]
        while waiting:
            lost: list[tuple[Job, int]] = []
            yield from self._pool(waiting, folder, backend, lost)
            waiting = [(job, tries + 1) for job, tries in lost if tries < TRIES]
            yield from (Entry(job.key, job.out, DIED) for job, tries in lost if tries >= TRIES)

    def _pool(
        self, waiting: list[tuple[Job, int]], folder: Path, backend: str, lost: list[tuple[Job, int]]
    ) -> Generator[Entry]:
        """Work off jobs in one pool; those that it began when it broke go to `lost`, the rest stays in line."""
        pool = ProcessPoolExecutor(self.count, get_context("spawn"), _leave_signals)
        running: dict[Future[Entry], tuple[Job, int]] = {}
        line = iter(waiting)
        try:
            while True:
                # As many as there are workers: what a broken pool had not begun is not counted as a try.
                while len(running) < self.count and (item := next(line, None)) is not None:
                    running[pool.submit(make, item[0], folder, self._backend(item[0], backend))] = item
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item = running.pop(future)
                    try:
                        entry = future.result()
                    except BrokenProcessPool:
                        lost += [item, *running.values(), *((job, tries - 1) for job, tries in line)]
                        return
                    yield entry
        finally:
            _end(pool)

    def _backend(self, job: Job, backend: str) -> str:
        """Where workers share the processor and no backend was named, each takes its share of the cores."""
        if backend != AUTO or self.count == 1 or is_pretrained(job.scene.model) or here().gpus:
            return backend
        return str(Backend(threads=max(1, (os.cpu_count() or 1) // self.count)))


def make(job: Job, folder: Path, backend: str, report: Callable[[Progress], None] | None = None) -> Entry:
    """Make one file in this process; what cannot be made is an entry with the reason.

    report: told of progress; a SafaError that it raises ends the job, and nothing of the file stays.
    """
    began = time.perf_counter()
    output = job.output(folder)
    path = folder / job.out
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        made = render(
            job.scene, job.seconds, output.path, model=_model(job.scene.model, backend), rate=job.rate,
            channels=job.channels, channel_map=job.channel_map, file_format=job.file_format, bits=job.bits,
            lufs=job.lufs, spectrogram=output.spectrogram, force=True, report=report,
        )  # fmt: skip
    except (SafaError, OSError, MemoryError) as error:
        said = str(error) or type(error).__name__
        return Entry(job.key, job.out, said, time.perf_counter() - began)
    return Entry(job.key, job.out, None, time.perf_counter() - began, path.stat().st_size, made.as_dict())


@lru_cache(maxsize=2)
def _model(name: str, backend: str) -> Model:
    """A worker's models: loaded once, not once a job."""
    return load(name, backend)


def _leave_signals() -> None:
    """Ctrl-C is the parent's to hear: it ends the workers, which take their unfinished files with them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def sweep(path: Path) -> None:
    """Remove what a worker that was killed had begun of a job's file."""
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):
        left.unlink(missing_ok=True)


def _end(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(5)
