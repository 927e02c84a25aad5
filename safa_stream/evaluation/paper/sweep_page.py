"""A sweep as a table, a page and pictures."""

from __future__ import annotations

import numpy as np

from safa_stream.evaluation.paper.sweep import SweepReport
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import markdown_table, text_table

#: Columns of the table by a row's field, with the digits that they can bear.
COLUMNS = (
    ("s", "seconds", 1), ("FD", "fd", 2), ("±", "fd_error", 2), ("FAD", "fad", 2), ("KL", "kl", 3),
    ("CLAP", "clap", 3), ("I-similarity", "i_similarity", 3), ("aliasing", "aliasing_ratio", 3),
    ("±", "aliasing_error", 3), ("change", "change_ratio", 3), ("calls", "denoiser_calls", 0),
    ("time s", "run_time_s", 1),
)  # fmt: skip


def lines(report: SweepReport) -> tuple[list[str], list[list[str]]]:
    """Header and rows; columns that nothing fills are left out."""
    shown = [c for c in COLUMNS if any(np.isfinite(getattr(row, c[1])) for row in report.rows)]
    header = ["method", report.plan.parameter, *(title for title, _, _ in shown)]
    rows = []
    for row in report.rows:
        figures = [(float(getattr(row, name)), places) for _, name, places in shown]
        value = f"{row.value:g}" if np.isfinite(row.value) else "-"
        rows.append([row.method, value, *(f"{x:.{d}f}" if np.isfinite(x) else "-" for x, d in figures)])
    return header, rows


def table(report: SweepReport) -> str:
    """For the terminal."""
    return f"{report.made.headline()}; {report.ears.label}\n{text_table(*lines(report))}"


def markdown(report: SweepReport, command: str) -> str:
    """A page that names the command that made it."""
    parts = [
        f"# Sweep: {report.plan.axis}",
        "",
        f"{report.made.sentence(command)} {report.ears.label}.",
        "",
        markdown_table(*lines(report)),
        "",
        "Columns as in `safa-stream eval paper`: FD against native-length views of the same model, with its standard "
        "error over clips; aliasing is the change inside overlaps over that inside Mids, change the change anywhere "
        "over that of native views; calls are views denoised one step.",
    ]
    for name in pictures(report):
        parts += ["", f"![{report.plan.axis}]({name}.svg)"]
    return "\n".join([*parts, ""])


def pictures(report: SweepReport) -> dict[str, str]:
    """SVG texts by name: FD, aliasing ratio and likeness over the values."""
    drawn = {}
    figures: tuple[tuple[str, str, str, tuple[float, ...]], ...] = (
        ("fd", "FD", "fd", ()),
        ("aliasing", "aliasing ratio", "aliasing_ratio", (1.0,)),
        ("likeness", "I-similarity", "i_similarity", ()),
    )
    for name, label, figure, levels in figures:
        curves = {m.title: report.curve(m.title, figure) for m in report.plan.methods}
        curves = {title: (x, y) for title, (x, y) in curves.items() if np.isfinite(y).sum() > 1}
        if curves:
            drawn[f"sweep-{report.plan.parameter}-{name}"] = line_plot(
                curves, f"{label} by {report.plan.axis}", report.plan.axis, label, levels=levels
            )
    return drawn
