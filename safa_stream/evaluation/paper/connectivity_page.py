"""The connectivity fit as a table, a page and a picture."""

from __future__ import annotations

import numpy as np

from safa_stream.evaluation.paper.connectivity import ConnectivityReport
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import markdown_table, text_table


def lines(report: ConnectivityReport) -> list[list[object]]:
    """Rows of the table."""
    return [
        [f"one map of a frame's {report.values} values to its log-mel", f"{report.frame_error:.4f}"],
        [f"channel-wise: one map of {report.channels} channels at every place", f"{report.place_error:.4f}"],
        ["frame-to-frame change that the frames' map keeps", f"{report.change_kept:.4f}"],
    ]


def table(report: ConnectivityReport) -> str:
    """For the terminal."""
    head = f"squared error over variance, {report.held_out} held-out views"
    return f"{report.made.headline()}\n{head}\n{text_table(['', ''], lines(report))}"


def markdown(report: ConnectivityReport, command: str) -> str:
    """A page that names the command that made it."""
    parts = [
        "# Connectivity inheritance: from latents to the spectrum by one linear map",
        "",
        report.made.sentence(command),
        "",
        "Least squares from the latents of native views to the log-mel of their decoded sound, averaged over each "
        f"latent frame. The error is of {report.held_out} views of clips that were not fitted on: squared error over "
        "variance, so 0 is exact and 1 is no better than the mean. The channel-wise map is the paper's form; it "
        "supposes latents whose F is the spectrum's frequency, downsampled. In the built-in model's latents C and F "
        "together count principal components of a frame, so there the first map answers the paper's question.",
        "",
        markdown_table(["map", "held out"], lines(report)),
        "",
        "![Error by band](connectivity.svg)",
        "",
    ]
    return "\n".join(parts)


def pictures(report: ConnectivityReport) -> dict[str, str]:
    """The error by mel band as SVG text, by name."""
    bands = np.arange(len(report.frame_error_by_band))
    drawn = line_plot(
        {"held-out views": (bands, report.frame_error_by_band)},
        "What one linear map leaves unexplained of the log-mel",
        "mel band, low to high",
        "squared error / variance",
        levels=[0.0],
    )
    return {"connectivity": drawn}
