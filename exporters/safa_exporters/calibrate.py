"""The fastest backend for each machine, measured and kept: what `--backend auto` then stands for.

Only backends whose sound is as good as single precision's are chosen: fp32 by itself, others where they are allowed by
name. Threads are tried as well, as hyper-threads and slow cores can make fewer threads the faster choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from safa_exporters.comparing import Left, Row, candidates, compare
from safa_stream.errors import ModelError
from safa_stream.models.backends import choice
from safa_stream.models.backends.machine import Machine, here
from safa_stream.models.backends.spec import Backend, parse
from safa_stream.models.builtin.weights import Weights

Report = Callable[[str], None]
#: Batches that decide: a stream's view with its guidance, and what a server's batch comes to.
DECIDING = (2, 8)
#: Another backend than the safe default has to be so much faster to be chosen.
WORTH = 1.03


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured and chosen."""

    chosen: Backend
    rows: tuple[Row, ...]
    left: tuple[Left, ...]
    machine: Machine

    def as_dict(self) -> dict[str, Any]:
        """For the cache and for --json."""
        return {
            "backend": str(self.chosen),
            "machine": asdict(self.machine),
            "measured": [asdict(row) for row in self.rows],
            "left_out": [asdict(each) for each in self.left],
        }


def calibrate(weights: Weights, allowed: Sequence[str], report: Report) -> Calibration:
    """Measure the backends of a model folder and choose one. allowed: precisions besides fp32.

    Raises ModelError where none can run.
    """
    machine = here()
    backends = [b for b in candidates(machine, weights) if b.precision == "fp32" or b.precision in allowed]
    rows, left = compare(weights, backends, DECIDING, report)
    if not rows:
        raise ModelError("no backend can run here; safa-stream doctor says what is missing")
    best = parse(min({row.backend for row in rows}, key=lambda name: _cost(rows, name)))
    if _threads_matter(best):
        counts = sorted({1, machine.cores // 2, machine.cores} - {0})
        tried = [replace(best, threads=count) for count in counts]
        more, _ = compare(weights, [best, *tried], DECIDING, report)
        rows += [row for row in more if row.backend != str(best)]
        fastest = min((str(each) for each in tried), key=lambda name: _cost(more, name))
        if _cost(more, fastest) * WORTH < _cost(more, str(best)):
            best = parse(fastest)
    default = str(Backend())
    if any(row.backend == default for row in rows) and _cost(rows, default) <= WORTH * _cost(rows, str(best)):
        best = Backend()
    return Calibration(best, tuple(rows), tuple(left), machine)


def keep(weights: Weights, found: Calibration) -> str:
    """Write the choice into the user's cache; returns where. Raises OutputError."""
    return str(choice.keep(weights.digest, found.chosen, found.machine, found.as_dict()))


def _cost(rows: Sequence[Row], backend: str) -> float:
    """Seconds a row of the batch, over the deciding batches."""
    return sum(row.seconds / row.batch for row in rows if row.backend == backend and row.batch in DECIDING)


def _threads_matter(backend: Backend) -> bool:
    return backend.facts.device == "cpu"
