"""From what was heard to the table's rows: figures of every job, their errors, and the ratios to SaFa."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safa_stream.evaluation import aliasing
from safa_stream.evaluation.embedding import Projection
from safa_stream.evaluation.paper import measures
from safa_stream.evaluation.paper.experiment import Measured
from safa_stream.evaluation.paper.hearing import Heard
from safa_stream.evaluation.paper.methods import REFERENCE, Job
from safa_stream.models.builtin.features import Array
from safa_stream.models.interface import Model

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; nan where a column cannot be filled. Errors are standard errors over clips.

    seconds: length of a clip. change_ratio: change anywhere over that of native views. denoiser_calls: view
    evaluations a clip (a batch of n views counts n). run_time_s: to the finished sound, denoise_time_s in the denoiser.
    """

    method: str
    seconds: float
    views: int
    steps: int
    fd: float
    fd_error: float
    fad: float
    kl: float
    kl_error: float
    clap: float
    i_lpips: float
    i_clap: float
    i_similarity: float
    aliasing_ratio: float
    aliasing_error: float
    change_ratio: float
    denoiser_calls: float
    denoiser_batches: float
    run_time_s: float
    denoise_time_s: float
    value: float = NAN


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """The reference set's windows by embedding, and the components and the count that sets are compared in."""

    reference: tuple[Array, ...]
    projection: Projection
    count: int

    @classmethod
    def of(cls, measured: Measured, which: str) -> Sets:
        """Fitted on the reference set; the count is the fewest windows that any compared set has."""
        sides = [measured.reference, measured.native, *measured.made]
        reference = tuple(getattr(heard, which) for heard in measured.reference)
        count = min(sum(len(getattr(heard, which)) for heard in side) for side in sides)
        rows = np.concatenate(reference)
        components = measures.components_for(count, rows.shape[1])
        return cls(reference, Projection.fit(rows, components, whiten=False), count)

    @property
    def components(self) -> int:
        """How many components."""
        return int(self.projection.forward.shape[1])

    def distance(self, rows: Sequence[Array], without: int | None = None) -> float:
        """Of the windows of all clips, or of all but one, to the same clips of the reference set."""
        kept = [at for at in range(len(rows)) if at != without]
        count = self.count * len(kept) // len(rows)
        one, two = (np.concatenate([side[at] for at in kept]) for side in (self.reference, rows))
        return measures.set_distance(one, two, self.projection, count)

    def without_each(self, rows: Sequence[Array]) -> list[float]:
        """The distance with each clip left out; empty for one clip."""
        return [self.distance(rows, at) for at in range(len(rows))] if len(rows) > 1 else []


def rows_of(model: Model, measured: Measured) -> tuple[Row, ...]:
    """The row "Reference", then one row a job."""
    main = Sets.of(measured, "rows")
    second = Sets.of(measured, "fad_rows") if measured.reference[0].fad_rows is not None else None
    native = _row(model, measured, measured.native, None, main, second)
    return (native, *(_row(model, measured, measured.of(job), job, main, second) for job in measured.jobs))


def _row(
    model: Model, measured: Measured, heard: Sequence[Heard], job: Job | None, main: Sets, second: Sets | None
) -> Row:
    rows = [one.rows for one in heard]
    pairs = zip(measured.reference, heard, strict=True)
    divergences = [measures.divergence(a.shares, b.shares) for a, b in pairs if a.shares is not None is not b.shares]
    ratios = [] if job is None else aliasing_ratios(model, job, heard)
    changes = [one.level / side.level for one, side in zip(heard, measured.reference, strict=True)]
    return Row(
        method=REFERENCE if job is None else job.method.title,
        seconds=heard[0].piece_seconds if job is None else heard[0].sounding,
        views=measured.setup.reference_views if job is None else job.views,
        steps=measured.setup.steps if job is None else job.steps,
        fd=main.distance(rows),
        fd_error=measures.jackknife_error(main.without_each(rows)),
        fad=NAN if second is None else second.distance([one.fad_rows for one in heard if one.fad_rows is not None]),
        kl=_mean(divergences),
        kl_error=measures.standard_error(divergences),
        clap=_mean([one.clap for one in heard]),
        i_lpips=NAN,
        i_clap=_mean([measures.mean_cosine(one.clap_rows) for one in heard if one.clap_rows is not None]),
        i_similarity=_mean([measures.mean_cosine(one.piece_rows) for one in heard]),
        aliasing_ratio=_mean(ratios),
        aliasing_error=measures.standard_error(ratios),
        change_ratio=_mean(changes),
        denoiser_calls=_mean([one.calls for one in heard]),
        denoiser_batches=_mean([one.batches for one in heard]),
        run_time_s=_mean([one.seconds for one in heard]),
        denoise_time_s=_mean([one.denoise_seconds for one in heard]),
        value=NAN if job is None or job.value is None else job.value,
    )


def aliasing_ratios(model: Model, job: Job, heard: Sequence[Heard]) -> list[float]:
    """The aliasing ratio of every clip of a job; nan where its overlaps leave no Mid."""
    layout = job.method.layout(model)
    spans = job.method.spans(model, job.views)
    overlaps, middles = aliasing.circular_windows(layout, len(spans), model.facts.frames_per_second)
    return [
        aliasing.mean_inside(one.times, one.change, overlaps) / aliasing.mean_inside(one.times, one.change, middles)
        for one in heard
    ]


def time_ratio(slow: Sequence[Heard], fast: Sequence[Heard]) -> float:
    """Median over clips, which were made in turns, of one job's run time over another's."""
    return float(np.median([a.seconds / b.seconds for a, b in zip(slow, fast, strict=True)]))


def distance_gap(measured: Measured, worse: Job, better: Job) -> tuple[float, float]:
    """FD of one job less another's, and the standard error of that difference (jackknife over clips)."""
    sets = Sets.of(measured, "rows")
    one, two = ([heard.rows for heard in measured.of(job)] for job in (worse, better))
    gaps = [a - b for a, b in zip(sets.without_each(one), sets.without_each(two), strict=True)]
    return sets.distance(one) - sets.distance(two), measures.jackknife_error(gaps)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else NAN
