"""The panorama experiment as a table for the terminal and as a page."""

from __future__ import annotations

from safa_stream.evaluation.images.experiment import ImageReport
from safa_stream.evaluation.paper.pace import spoken
from safa_stream.evaluation.tables import markdown_table, text_table

HEADER = ("method", "FID", "KID x 1000", "CLIP", "I-StyleL", "I-LPIPS", "time, s", "/ SaFa", "calls")
TITLES = {"fid": "FID", "kid": "KID", "clip": "CLIP", "i_stylel": "I-StyleL", "i_lpips": "I-LPIPS"}


def lines(report: ImageReport) -> list[list[object]]:
    """The table's rows."""
    return [
        [r.method, r.fid, r.kid, r.clip, r.i_stylel, r.i_lpips, r.run_time_s, r.run_time_ratio, r.denoiser_calls]
        for r in report.rows
    ]


def notes(report: ImageReport) -> list[str]:
    """What a reader has to know of the columns."""
    out = [f"{TITLES[column]} by {name}." for column, name in report.eyes.columns.items()]
    out += [f"{TITLES[column]} is empty: {reason}." for column, reason in report.eyes.missing.items()]
    if "fid" in report.eyes.columns:
        out.append(
            "FID and KID take one random crop of every panorama against as many pictures of native size by the same "
            "model; the row reference is of such pictures too. They compare rows of this table."
        )
    return out


def headline(report: ImageReport) -> str:
    """What was made, where, and how long it took."""
    return (
        f"{report.model}; {report.width} x {report.height} pixels, {len(report.prompts)} prompts x "
        f"{len(report.seeds)} seeds; {report.machine}; {spoken(report.seconds)} min"
    )


def table(report: ImageReport) -> str:
    """For the terminal."""
    return "\n".join([headline(report), text_table(HEADER, lines(report)), *notes(report)])


def markdown(report: ImageReport, command: str) -> str:
    """A page that names the command that made it."""
    parts = ["# The paper's panorama experiment", "", f"{headline(report)}. Made by `{command}`.", ""]
    parts += [markdown_table(HEADER, lines(report)), "", *(f"- {note}" for note in notes(report)), ""]
    return "\n".join(parts)
