"""What joins do to latents of a waveform and to those of a spectrum, by how far the parents agree. No network.

    python tools/waveform_study.py recordings --classes rain,ocean,stream,wind,fire,birds --out docs/studies

Waveform latents are here a lapped transform (MDCT, sine window): [C, T, 1] with C numbers for C samples, whose frames
sound right only beside the neighbours that they were made with, phases included. Spectral latents are the log-mel
itself. Parents are two unrelated stretches of one class of recordings, mixed so that they correlate by c; every frame
is joined, by the mean or by swapping. Needs the light set and Pillow for PNG.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from safa_stream.corpus.recordings import Recording, list_recordings, read_recording
from safa_stream.evaluation import aliasing, plot, plot_png
from safa_stream.evaluation.bench import machine
from safa_stream.evaluation.tables import markdown_table
from safa_stream.models.builtin.features import SAMPLE_RATE
from safa_stream.operators import self_loop_swap
from safa_stream.types import DoubleArray

#: Samples of a frame at 16 kHz: 16, 46 (Stable Audio Open's frame) and 128 ms.
FRAMES, USUAL = (256, 736, 2048), 736
#: How far parents correlate.
AGREEMENT = (0.0, 0.5, 0.9, 0.97)
SECONDS, PAIRS = 4.0, 2
INTERVALS = (1, 2, 4, 8)
Join = Callable[[DoubleArray, DoubleArray], DoubleArray]
#: Change from frame to frame over the parents', level over theirs in dB, and change from column to column (10 ms).
Figures = tuple[float, float, float]


def mean(one: DoubleArray, two: DoubleArray) -> DoubleArray:
    """MultiDiffusion's."""
    return (one + two) / 2


def swap(interval: int) -> Join:
    """The paper's, of latents [..., T, F]."""
    return lambda one, two: np.asarray(self_loop_swap(one, two, interval))


JOINS: dict[str, Join] = {"mean": mean, **{f"swap, w = {w}": swap(w) for w in INTERVALS}}


@functools.cache
def basis(size: int) -> DoubleArray:
    """The windowed MDCT's rows [size, 2 size]; its own transpose is its inverse by overlap-add."""
    at = np.arange(2 * size)
    window = np.sin(np.pi * (at + 0.5) / (2 * size))
    angle = np.pi / size * np.outer(np.arange(size) + 0.5, at + 0.5 + size / 2)
    return np.asarray(np.sqrt(2 / size) * np.cos(angle) * window)


def analyse(samples: DoubleArray, size: int) -> DoubleArray:
    """Latents [C, T, 1] of samples [(T + 1) size]."""
    parts = np.lib.stride_tricks.sliding_window_view(samples, 2 * size)[::size]
    return (parts @ basis(size).T).T[..., None]


def synthesise(latents: DoubleArray) -> DoubleArray:
    """Samples [(T - 1) size] of latents [C, T, 1] but the first and last half frame, which lack a neighbour."""
    size, count = latents.shape[:2]
    parts = latents[..., 0].T @ basis(size)
    out = np.zeros((count + 1) * size)
    for index, part in enumerate(parts):
        out[index * size : (index + 2) * size] += part
    return out[size:-size]


def stretches(recordings: Sequence[Recording], classes: Sequence[str]) -> list[tuple[DoubleArray, DoubleArray]]:
    """Pairs of unrelated stretches of a class, mono at 16 kHz and of one loudness."""
    length, out = round(SECONDS * aliasing.RATE), []
    for label in classes:
        found: list[DoubleArray] = []
        for recording in (one for one in recordings if one.label == label):
            mono = aliasing.at_paper_rate(read_recording(recording.path), SAMPLE_RATE).astype(np.float64)
            for start in range(0, len(mono) - length, 2 * length):
                part = mono[start : start + length]
                found.append(part * 0.05 / (np.sqrt((part**2).mean()) + 1e-9))
            if len(found) >= 2 * PAIRS:
                break
        out += list(zip(found[0 : 2 * PAIRS : 2], found[1 : 2 * PAIRS : 2], strict=False))
    return out


def mixed(one: DoubleArray, two: DoubleArray, agreement: float) -> DoubleArray:
    """A parent that correlates with `one` by `agreement`, of the same power where the two have nothing in common."""
    return np.asarray(agreement * one + np.sqrt(1 - agreement**2) * two)


def rate_of_change(mel: DoubleArray) -> float:
    """Mean |change| of a log-mel [k, B] from column to column."""
    return float(np.abs(np.diff(mel, axis=0)).mean())


def framed(mel: DoubleArray, size: int) -> DoubleArray:
    """A log-mel [k, B] as means over stretches of `size` samples."""
    columns = max(1, round(size / aliasing.HOP))
    count = len(mel) // columns
    return np.asarray(mel[: count * columns].reshape(count, columns, -1).mean(1))


def of_waveform(one: DoubleArray, two: DoubleArray, size: int, join: Join) -> Figures:
    """Of the sound of joined waveform latents."""
    whole = len(one) // size * size
    latents = [analyse(samples[:whole], size) for samples in (one, two)]
    made, *parents = (synthesise(latent) for latent in (join(latents[0], latents[1]), *latents))
    power = np.mean([(parent**2).mean() for parent in parents])
    mel, *mels = (aliasing.log_mel(samples) for samples in (made, *parents))
    by_frame = rate_of_change(framed(mel, size)) / np.mean([rate_of_change(framed(m, size)) for m in mels])
    by_column = rate_of_change(mel) / np.mean([rate_of_change(m) for m in mels])
    return float(by_frame), 10 * float(np.log10((made**2).mean() / power)), float(by_column)


def of_spectrum(one: DoubleArray, two: DoubleArray, size: int, join: Join) -> Figures:
    """Of joined log-mels, whose frames are means over `size` samples; there is nothing between frames."""
    mels = [framed(aliasing.log_mel(samples), size) for samples in (one, two)]
    made = join(mels[0][None], mels[1][None])[0]
    power = np.mean([np.exp(mel).sum() for mel in mels])
    by_frame = rate_of_change(made) / np.mean([rate_of_change(mel) for mel in mels])
    return float(by_frame), 10 * float(np.log10(np.exp(made).sum() / power)), float("nan")


def main() -> None:
    """Measure and write the tables and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", default="rain,ocean,stream,wind,fire,birds")
    parser.add_argument("--out", type=Path, default=Path("docs/studies"))
    options = parser.parse_args()
    classes = options.classes.split(",")
    pairs = stretches(list_recordings(options.folder), classes)
    print(f"{len(pairs)} pairs of {', '.join(classes)}; {machine()}\n")
    kinds = {"waveform": of_waveform, "spectrum": of_spectrum}
    figures: dict[tuple[str, str, int, float], DoubleArray] = {}
    for size in FRAMES:
        for agreement in AGREEMENT if size == USUAL else AGREEMENT[:1]:
            for kind, measured in kinds.items():
                for name, join in JOINS.items():
                    found = [measured(one, mixed(one, two, agreement), size, join) for one, two in pairs]
                    figures[kind, name, size, agreement] = np.array(found)
    for kind in kinds:
        header = [f"{kind} latents", *(f"c = {c:g}" for c in AGREEMENT)]
        rows = [[name, *(told(figures[kind, name, USUAL, c]) for c in AGREEMENT)] for name in JOINS]
        print(markdown_table(header, rows) + "\n")
        header = [f"{kind} latents, c = 0", *(f"{1000 * size / aliasing.RATE:.0f} ms" for size in FRAMES)]
        rows = [[name, *(told(figures[kind, name, size, 0.0]) for size in FRAMES)] for name in JOINS]
        print(markdown_table(header, rows) + "\n")
    curves = {}
    for kind in kinds:
        for name in ("mean", "swap, w = 1", "swap, w = 4"):
            apart = [1 - c for c in AGREEMENT]
            curves[f"{kind}: {name}"] = (apart, [figures[kind, name, USUAL, c][:, 0].mean() for c in AGREEMENT])
    drawn = plot.line_plot(
        curves,
        "Change of joined frames, over the parents'",
        "disagreement 1 - c",
        "change ratio",
        levels=[1.0],
    )
    (options.out / "waveform-joins.svg").write_text(drawn, encoding="utf-8")
    if plot_png.available():
        (options.out / "waveform-joins.png").write_bytes(plot_png.png(drawn))


def told(values: DoubleArray) -> str:
    """Change by frame ± its standard error, change by column where there is one, and level."""
    error = values[:, 0].std(ddof=1) / np.sqrt(len(values))
    by_column = "" if np.isnan(values[0, 2]) else f" ({values[:, 2].mean():.2f})"
    return f"{values[:, 0].mean():.2f} ± {error:.2f}{by_column}, {values[:, 1].mean():+.1f} dB"


if __name__ == "__main__":
    main()
