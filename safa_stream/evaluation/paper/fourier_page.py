"""The Fourier analysis as a table, a page and pictures."""

from __future__ import annotations

import numpy as np

from safa_stream.evaluation.paper.fourier import FourierReport, relative
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import markdown_table, text_table

#: Shares of the steps at which the tables stand.
PLACES = (0.25, 0.5, 0.75, 0.9, 1.0)


def lines(report: FourierReport) -> tuple[list[str], list[list[str]]]:
    """Header and rows: by method, the overlap's high frequencies over Mid's after shares of the steps."""
    steps = report.made.setup.steps
    at = [round(share * steps) for share in PLACES]
    header = ["method", *(f"step {step}" for step in at), "relative, last", "1 - c, first half", "second half"]
    rows = []
    for name, found in report.curves.items():
        lost = found.lost()
        apart = [f"{half.mean():.3f}" for half in np.array_split(found.disagreement, 2)]
        rows.append([name, *(f"{lost[step]:+.3f}" for step in at), f"{found.relative_lost()[-1]:+.3f}", *apart])
    return header, rows


def table(report: FourierReport) -> str:
    """For the terminal."""
    header, rows = lines(report)
    head = "log amplitude of the highest third of frequencies, overlap less Mid (nats)"
    return f"{report.made.headline()}\n{head}\n{text_table(header, rows)}"


def markdown(report: FourierReport, command: str) -> str:
    """A page that names the command that made it."""
    views = report.made.setup.reference_views
    header, rows = lines(report)
    parts = [
        "# High frequencies of latents in overlaps, along the steps",
        "",
        report.made.sentence(command),
        "",
        f"{views} views on a circle, overlap 0.2. "
        "Log amplitude of the 2-D Fourier transform (Hann window along time) of the joined latents, the mean over the "
        "highest third of the frequencies along time: the overlap's less that of as many frames of Mid, in nats. 0 is "
        "no difference, below 0 the overlap has lost high frequencies. *relative, last*: after the last step, of "
        "amplitudes relative to zero frequency, which is the paper's measure. *1 - c*: how far the clean estimates of "
        "neighbouring views disagree in their overlap before they are joined, as 1 less their correlation; averaging "
        "leaves (1 + c) / 2 of the variance, so where 1 - c is small it has little to damage.",
        "",
        markdown_table(header, rows),
        "",
        "![High frequencies by step](fourier-steps.svg)",
        "",
        "![Relative amplitude by frequency](fourier-frequencies.svg)",
        "",
        "![Disagreement of neighbours](fourier-disagreement.svg)",
        "",
    ]
    return "\n".join(parts)


def pictures(report: FourierReport) -> dict[str, str]:
    """SVG texts by name: high frequencies by step, and relative amplitudes by frequency after the last step."""
    steps = np.arange(report.made.setup.steps + 1)
    by_step = line_plot(
        {name: (steps, found.lost()) for name, found in report.curves.items()},
        "High frequencies of the overlap's latents over Mid's",
        "denoising step",
        "log amplitude, nats",
        levels=[0.0],
    )
    apart = line_plot(
        {name: (steps[1:], found.disagreement) for name, found in report.curves.items()},
        "Disagreement of neighbours' clean estimates in their overlap",
        "denoising step",
        "1 - correlation",
        levels=[0.0],
    )
    hz = report.frequencies()
    curves = {f"{name}, overlap": (hz, relative(found.overlap[-1])) for name, found in report.curves.items()}
    first = next(iter(report.curves))
    curves[f"{first}, Mid"] = (hz, relative(report.curves[first].middle[-1]))
    by_frequency = line_plot(
        curves,
        "Relative log amplitude after the last step",
        "frequency along time, Hz",
        "log amplitude over zero frequency's",
    )
    return {"fourier-steps": by_step, "fourier-frequencies": by_frequency, "fourier-disagreement": apart}
