"""The experiment's results as JSON values, as a table for the terminal, and as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from safa_stream.evaluation import aliasing
from safa_stream.evaluation.paper.experiment import Measured
from safa_stream.evaluation.paper.findings import Bars
from safa_stream.evaluation.paper.hearing import TITLES, Ears
from safa_stream.evaluation.paper.methods import OVERLAP, Method
from safa_stream.evaluation.paper.provenance import Provenance
from safa_stream.evaluation.paper.rows import Row
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import markdown_table, text_table
from safa_stream.models.interface import Model
from safa_stream.scene import SYNC
from safa_stream.types import DoubleArray

#: Bins of the profile of change over a hop, in seconds.
PROFILE_SECONDS = 0.04


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Rows with what they were made on; `components` in which FD (and FAD) are taken, `windows` in each set.

    distance: by which SyncDiffusion compared views, None where it has no row.
    """

    rows: tuple[Row, ...]
    bars: Bars | None
    measured: Measured
    ears: Ears
    components: int
    windows: int
    made: Provenance
    distance: str | None = None


HEADER = (
    "method", "s", "FD", "±", "FAD", "KL", "±", "CLAP", "I-LPIPS", "I-CLAP", "I-similarity", "aliasing", "±",
    "change", "calls", "time s",
)  # fmt: skip


def cells(row: Row) -> list[str]:
    """One line of the table: figures with the digits that they can bear, "-" where there is none."""
    figures = [
        _digits(row.seconds, 1), _digits(row.fd, 2), _digits(row.fd_error, 2), _digits(row.fad, 2),
        _digits(row.kl, 3), _digits(row.kl_error, 3), _digits(row.clap, 3), _digits(row.i_lpips, 3),
        _digits(row.i_clap, 3), _digits(row.i_similarity, 3), _digits(row.aliasing_ratio, 3),
        _digits(row.aliasing_error, 3), _digits(row.change_ratio, 3), _digits(row.denoiser_calls, 0),
        _digits(row.run_time_s, 1),
    ]  # fmt: skip
    return [row.method, *figures]


def _digits(value: float, places: int) -> str:
    return f"{value:.{places}f}" if math.isfinite(value) else "-"


def as_dict(report: Report) -> dict[str, Any]:
    """JSON values: `rows`, the bars, and how all was made."""
    return {
        "rows": [{**asdict(row), "embedding": report.ears.label} for row in report.rows],
        "bars": None if report.bars is None else asdict(report.bars),
        "embeddings": report.ears.columns,
        "empty_columns": report.ears.missing,
        "components": report.components,
        "windows_per_set": report.windows,
        "distance": report.distance,
        **report.made.as_dict(),
    }


def notes(report: Report) -> list[str]:
    """What a reader has to know of the columns, a sentence each."""
    ears, setup = report.ears, report.measured.setup
    named: dict[str, list[str]] = {}
    for column, network in ears.columns.items():
        named.setdefault(network, []).append(TITLES[column])
    lines = [f"{', '.join(columns)} by {network}." for network, columns in named.items()]
    lines += [f"{TITLES[column]} is empty: {reason}." for column, reason in ears.missing.items()]
    if any(job.method.join == SYNC for job in report.measured.jobs):
        lines.append(
            f"SyncDiffusion's views are drawn to the middle one by the gradient of {report.distance}; a call that the "
            "gradient passes back through counts as one."
        )
    lines += [
        f"FD and FAD are taken in {report.components} principal components of the reference set, {report.windows} "
        "windows a set; they compare rows of this table, not with other tables. The reference set is native-length "
        "output of the same model with other noise; the row Reference is another such set.",
        "I-similarity is the mean cosine of the embeddings of a clip's pieces (hops; of Reference, native views).",
        "aliasing is the aliasing ratio: change inside overlaps over change inside Mids; at overlap 0.8 there is no "
        "Mid. change is the change anywhere over that of native views.",
        "calls are views denoised one step, counted at the model; time is to the finished sound, the mean of "
        f"{len(setup.clips)} clips made in turns.",
    ]
    return lines


def table(report: Report) -> str:
    """For the terminal."""
    parts = [report.made.headline(), text_table(HEADER, [cells(row) for row in report.rows]), *notes(report)]
    if report.bars is not None:
        parts += ["", *report.bars.sentences()]
    return "\n".join(parts)


def markdown(report: Report, command: str, pictures: Sequence[str]) -> str:
    """A page that names the command that made it."""
    views = sorted({job.views for job in report.measured.jobs})
    parts = [
        "# The paper's audio experiment",
        "",
        report.made.sentence(command),
        "",
        f"Canvases of {', '.join(str(count) for count in views)} views of the model's own length on a circle, overlap "
        "0.2: the paper's geometry, scaled to this model's view (its views of 10.24 s make 24, 48 and 72 s). MD 0.8 "
        "makes the same canvas from views that share four fifths. ± are standard errors over clips.",
        "",
        markdown_table(HEADER, [cells(row) for row in report.rows]),
        "",
        *(f"- {line}" for line in notes(report)),
    ]
    if report.bars is not None:
        parts += ["", "## Findings", "", *(f"- {line}" for line in report.bars.sentences())]
    for name in pictures:
        parts += ["", f"![Change over a hop]({name})"]
    return "\n".join([*parts, ""])


def picture(report: Report, model: Model) -> str:
    """Change by place within a hop, over that of native views, each method on the first canvas; SVG text."""
    measured = report.measured
    layout = Method("", "safa", OVERLAP).layout(model)
    rate = model.facts.frames_per_second
    curves = {}
    for job in measured.jobs:
        if job.views != measured.jobs[0].views or job.steps != measured.jobs[0].steps:
            continue
        profiles = [
            aliasing.folded(heard.times, heard.change, layout.hop / rate, PROFILE_SECONDS) / side.level
            for heard, side in zip(measured.of(job), measured.reference, strict=True)
        ]
        mean = np.mean(profiles, axis=0)
        curves[job.method.title] = ((np.arange(len(mean)) + 0.5) * layout.hop / rate / len(mean), smooth(mean))
    return line_plot(
        curves,
        "How fast the sound changes over a hop, beside native views (smoothed over 0.2 s)",
        "seconds from a view's start; its overlap is shaded",
        "D / native D",
        spans=[(0.0, layout.overlap / rate)],
        levels=[1.0],
    )


def smooth(values: DoubleArray, width: int = 5) -> DoubleArray:
    """A running mean around a circle."""
    return np.asarray(np.mean([np.roll(values, shift) for shift in range(-(width // 2), width // 2 + 1)], axis=0))
