"""The line in which jobs wait for workers that may die: each is begun a bounded number of times."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from safa_stream.rendering.batch.jobs import Job
from safa_stream.rendering.batch.ledger import Entry

#: How often a job may take its worker with it. One node's end says nothing of the jobs that it had, three ends do.
TRIES = 3


class Line:
    """Jobs in the order in which they are begun; one that was lost waits again behind the others."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting = deque(jobs)
        self._lost: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> Job | None:
        """The job that is to be begun now, None where none waits."""
        return self._waiting.popleft() if self._waiting else None

    def lost(self, job: Job, why: str) -> Entry | None:
        """Its worker died or fell silent: it waits again, or, where that was once too often, this is how it ended."""
        self._lost[job.key] += 1
        if self._lost[job.key] < TRIES:
            self._waiting.append(job)
            return None
        return Entry(job.key, job.out, f"{TRIES} workers were lost while they made it, the last one: {why}")
