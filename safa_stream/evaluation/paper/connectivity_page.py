"""The connectivity fit as a table, a page and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safa_stream.evaluation.paper.connectivity import ConnectivityReport
from safa_stream.evaluation.paper.pace import spoken
from safa_stream.evaluation.plot import line_plot
from safa_stream.evaluation.tables import markdown_table, text_table

if TYPE_CHECKING:
    # It needs torch, which measuring the built-in model does not.
    from safa_stream.evaluation.paper.inheritance import InheritanceReport


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


def autoencoder_lines(report: InheritanceReport) -> list[list[object]]:
    """Rows of an autoencoder's table."""
    place = {"colour": "square of pixels", "band": "frame"}[report.columns]
    return [
        [f"one map of {report.channels} channels to the {place}", f"{report.error:.4f}"],
        [f"its best {report.columns}", f"{report.by_column.min():.4f}"],
        [f"its worst {report.columns}", f"{report.by_column.max():.4f}"],
        ["change from place to place that the map keeps", f"{report.change_kept:.4f}"],
    ]


def autoencoder_table(report: InheritanceReport) -> str:
    """For the terminal."""
    head = f"squared error over variance, {report.held_out} of {report.examples} examples held out"
    about = f"{report.name}, {report.kind}; {report.machine}; {spoken(report.seconds)} min"
    return f"{about}\n{head}\n{text_table(['', ''], autoencoder_lines(report))}"


def autoencoder_markdown(report: InheritanceReport, command: str) -> str:
    """A page that names the command that made it."""
    went_in = {
        "colour": "the mean red, green and blue of the square of pixels that a latent stands for",
        "band": "the log-mel of the recording, averaged over the latent frame",
    }[report.columns]
    parts = [
        f"# Connectivity inheritance of {report.name}",
        "",
        f"An {report.kind} of {report.channels} latent channels. Made by `{command}` in {spoken(report.seconds)} "
        f"minutes on {report.machine}.",
        "",
        f"Least squares from latents to {went_in}, with one map for all places. The error is of {report.held_out} of "
        f"{report.examples} examples, which were not fitted on: squared error over variance, so 0 is exact and 1 is no "
        "better than the mean.",
        "",
        markdown_table(["", "held out"], autoencoder_lines(report)),
        "",
    ]
    return "\n".join(parts)
