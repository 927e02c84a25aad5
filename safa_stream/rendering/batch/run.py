"""A batch from its list to its report: what is left to do, done by workers, kept in the ledger."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safa_stream.rendering.batch.jobs import Job
from safa_stream.rendering.batch.ledger import Entry, Ledger
from safa_stream.rendering.batch.workers import Workers


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a batch is. skipped: jobs whose files were there; left: seconds until the end, None before the first."""

    jobs: int
    skipped: int
    done: int
    failed: int
    sound: float
    elapsed: float
    left: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a batch. sound: seconds of sound made by this call, wall: seconds that took.

    failures: `out` and `error` of each job without a file; interrupted: not all jobs were tried.
    """

    jobs: int
    done: int
    skipped: int
    failed: int
    sound: float
    wall: float
    real_time_factor: float
    workers: int
    ledger: str
    failures: tuple[dict[str, str], ...]
    interrupted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run_batch(
    jobs: Sequence[Job],
    folder: Path,
    workers: Workers,
    *,
    backend: str = "auto",
    again: bool = False,
    report: Callable[[Standing], None] = lambda standing: None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Make the files of `jobs` in `folder` that the ledger there does not know as made, or all with `again`.

    stop: asked after each file; True ends the batch, what was being made is made again next time. Raises OutputError
    where the ledger cannot be written. A job that fails is told in the report and hinders no other.
    """
    began = time.perf_counter()
    with Ledger(folder) as ledger:
        made = {} if again else ledger.done()
        waiting = [job for job in jobs if job.key not in made]
        total, before = sum(job.seconds for job in waiting), len(jobs) - len(waiting)
        failures: list[Entry] = []
        done, sound, tried = 0, 0.0, 0.0
        lengths = {job.key: job.seconds for job in waiting}
        work = workers.perform(waiting, folder, backend)
        interrupted = False
        try:
            report(Standing(len(jobs), before, 0, 0, 0.0, 0.0, None))
            for entry in work:
                ledger.write(entry)
                tried += lengths[entry.job]
                if entry.error is None:
                    done, sound = done + 1, sound + lengths[entry.job]
                else:
                    failures.append(entry)
                elapsed = time.perf_counter() - began
                left = elapsed * (total - tried) / tried
                report(Standing(len(jobs), before, done, len(failures), sound, elapsed, left))
                if stop() and done + len(failures) < len(waiting):
                    interrupted = True
                    break
        finally:
            work.close()
    wall = time.perf_counter() - began
    return Report(
        jobs=len(jobs),
        done=done,
        skipped=before,
        failed=len(failures),
        sound=round(sound, 3),
        wall=round(wall, 3),
        real_time_factor=round(sound / wall, 2),
        workers=workers.count,
        ledger=str(ledger.path),
        failures=tuple({"out": entry.out, "error": entry.error or ""} for entry in failures),
        interrupted=interrupted,
    )


def default_workers(jobs: int) -> int:
    """One a core, no more than there are jobs: a render by itself keeps one core busy, and a second by half."""
    return max(1, min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, jobs))
