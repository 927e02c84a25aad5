"""The comparison of ways to join views as tables, a page and pictures."""

from __future__ import annotations

import numpy as np

from safa_stream.evaluation.paper.joins import JoinsReport, spread
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import markdown_table, text_table

#: Ways whose curves are drawn: one of each kind.
DRAWN = ("SaFa, w = 1", "SaFa, w = 4", "SaFa*", "MD", "MD*", "independent", "stream")


def lines(report: JoinsReport) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the ways."""
    header = ["way", "aliasing ratio", "variance", "level, dB", "worst border", "1 - c, first half", "second half"]
    rows = []
    for name, found in report.ways.items():
        profile = found.profile(report.overlap)
        apart = ["-", "-"]
        if found.disagreement:
            halves = np.array_split(np.mean(found.disagreement, axis=0), 2)
            apart = [f"{half.mean():.3f}" if len(half) else "-" for half in halves]
        rows.append(
            [
                name,
                _spread(found.aliasing),
                _spread(found.variance),
                _spread(found.level),
                f"{profile.worst:.2f} at {profile.worst_place:+d}",
                *apart,
            ]
        )
    return header, rows


def decoder_lines(report: JoinsReport) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the joins of finished views."""
    header = ["join in every frame", "change", "level, dB", "likeness"]
    rows = [[n, _spread(f.change), _spread(f.level), _spread(f.likeness)] for n, f in report.decoded.items()]
    return header, rows


def table(report: JoinsReport) -> str:
    """For the terminal."""
    head, decoder = "ways to join views in a line", "what the decoder makes of two views that share nothing, joined"
    first, second = text_table(*lines(report)), text_table(*decoder_lines(report))
    return f"{report.made.headline()}\n{head}\n{first}\n\n{decoder}\n{second}"


def markdown(report: JoinsReport, command: str) -> str:
    """A page that names the command that made it."""
    views = report.made.setup.reference_views
    parts = [
        "# Ways to join views",
        "",
        report.made.sentence(command),
        "",
        f"{views} views in a line, overlap 0.2 ({report.overlap} frames of {1000 * report.frame_seconds:.0f} ms). "
        "± is the standard error over clips. *aliasing ratio*: how fast the sound changes in overlaps, over how fast "
        "it does in Mids. *variance*: of the final latents in overlaps over Mids, mean over their values. *level*: "
        "power of the sound in overlaps over Mids. *worst border*: the largest mean change at a frame border around a "
        "seam over the interior's, and its place in frames from the view's start. *1 - c*: how far the clean estimates "
        "of neighbouring views disagree in their overlap before they are joined, as 1 less their correlation.",
        "",
        markdown_table(*lines(report)),
        "",
        "![Change at borders](joins-borders.svg)",
        "",
        "![Disagreement by step](joins-disagreement.svg)",
        "",
        "Below, two finished views of the same words that share nothing are joined in all their frames and decoded. "
        "*change*: of the log-mel from frame to frame (10 ms), over the parents'. *level*: power over theirs. "
        "*likeness*: correlation of the log-mel with the mean of the parents' log-mels.",
        "",
        markdown_table(*decoder_lines(report)),
        "",
    ]
    return "\n".join(parts)


def pictures(report: JoinsReport) -> dict[str, str]:
    """SVG texts by name."""
    drawn = {name: found for name, found in report.ways.items() if name in DRAWN}
    place = np.arange(3 * report.overlap + 1) - report.overlap
    borders = line_plot(
        {name: (place, found.profile(report.overlap).mean) for name, found in drawn.items()},
        "Change at every frame border around a seam, over the interior's",
        "border, in latent frames from the view's start",
        "|Δ log-mel| / interior",
        spans=[(0, report.overlap)],
        levels=[1.0],
    )
    steps = np.arange(1, report.made.setup.steps + 1)
    apart = line_plot(
        {n: (steps, np.mean(f.disagreement, axis=0)) for n, f in drawn.items() if f.disagreement},
        "Disagreement of neighbours' clean estimates in their overlap",
        "denoising step",
        "1 - correlation",
        levels=[0.0],
    )
    return {"joins-borders": borders, "joins-disagreement": apart}


def _spread(values: list[float]) -> str:
    found = spread(values)
    return f"{found['mean']:.3f} ± {found['error']:.3f}" if len(values) > 1 else f"{found['mean']:.3f}"
