"""A log-mel picture of a recording, made while it is written, in constant memory: at most WIDTH columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safa_stream.rendering.png import GLYPH_HEIGHT, Pixels, draw_text, encode_png, text_width
from safa_stream.types import FloatArray

WIDTH, HEIGHT = 1200, 256
WINDOW = 2048
LOWEST, HIGHEST = 30.0, 20_000.0
#: Decibels from black to white; the loudest cell is white.
RANGE = 80.0
SHORTEST_COLUMN = 512
MOST_WINDOWS = 8
MARGIN_LEFT, MARGIN_BOTTOM, MARGIN = 60, 26, 10
INK = (210, 210, 210)
#: From black over violet and orange to pale yellow, even in brightness.
COLOURS = (
    (0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99),
    (212, 72, 66), (245, 125, 21), (250, 193, 39), (252, 255, 164),
)  # fmt: skip
_FREQUENCIES = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
_TIMES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 36000, 86400)


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """How a recording is divided: columns of `column` samples, each looked at through so many windows."""

    rate: int
    column: int
    windows: int
    bands: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """Finished columns, and the samples [channels, n] that are still to be seen."""

    columns: tuple[FloatArray, ...]
    samples: FloatArray


def canvas(rate: int, seconds: float) -> Canvas:
    """A canvas for a recording of so many seconds."""
    column = max(SHORTEST_COLUMN, math.ceil(rate * seconds / WIDTH))
    return Canvas(rate, column, min(max(math.ceil(column / WINDOW), 1), MOST_WINDOWS), _mel_bands(rate))


def begin(channels: int) -> Painting:
    """An empty picture."""
    return Painting((), np.zeros((channels, 0), np.float32))


def paint(canvas: Canvas, painting: Painting, samples: FloatArray, last: bool = False) -> Painting:
    """Take in the next samples [channels, N]; with `last` the unfinished column too."""
    held = np.concatenate([painting.samples, samples], axis=1)
    columns = list(painting.columns)
    needed = canvas.column + WINDOW
    if last:
        rest = held.shape[1] % canvas.column
        held = np.pad(held, ((0, 0), (0, (canvas.column - rest if rest else 0) + WINDOW)))
    while held.shape[1] >= needed:
        columns.append(_column(canvas, held[:, :needed]))
        held = held[:, canvas.column :]
    # A copy, so that the samples that are done with can be freed.
    return Painting(tuple(columns), held.copy())


def picture(canvas: Canvas, painting: Painting, text: dict[str, str]) -> bytes:
    """The picture with its axes as a PNG file: time in h:m:s below, frequency at the left."""
    energies = np.array(painting.columns or [np.zeros(HEIGHT)]).T[::-1]
    decibels = 10 * np.log10(np.maximum(energies, 1e-20))
    shade = np.clip((decibels - decibels.max()) / RANGE + 1, 0, 1)
    seconds = energies.shape[1] * canvas.column / canvas.rate
    wide = np.repeat(shade, max(1, WIDTH // (2 * energies.shape[1])), axis=1)
    width = wide.shape[1]
    pixels = np.full((HEIGHT + MARGIN + MARGIN_BOTTOM, MARGIN_LEFT + max(width, 60) + 3 * MARGIN, 3), 18, np.uint8)
    pixels[MARGIN : MARGIN + HEIGHT, MARGIN_LEFT : MARGIN_LEFT + width] = _coloured(wide)
    _draw_frequencies(pixels, canvas.rate)
    _draw_times(pixels, seconds, width)
    return encode_png(pixels, text)


def _column(canvas: Canvas, samples: FloatArray) -> FloatArray:
    starts = [place * canvas.column // canvas.windows for place in range(canvas.windows)]
    windows = np.stack([samples[:, start : start + WINDOW] for start in starts])
    spectrum = np.fft.rfft(windows * _HANN)
    return np.asarray((np.abs(spectrum) ** 2).mean(axis=(0, 1)) @ canvas.bands, np.float32)


def _mel(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2595 * np.log10(1 + frequency / 700))


def _ends(rate: int) -> tuple[float, float]:
    low, high = _mel(np.array([LOWEST, min(HIGHEST, rate / 2)]))
    return float(low), float(high)


def _mel_bands(rate: int) -> FloatArray:
    """Weights [WINDOW / 2 + 1, HEIGHT]: triangles over mel, nowhere narrower than a bin, each of unit sum."""
    low, high = _ends(rate)
    centres = low + (np.arange(HEIGHT) + 0.5) / HEIGHT * (high - low)
    frequencies = np.fft.rfftfreq(WINDOW, 1 / rate)
    centre_frequencies = 700 * (10 ** (centres / 2595) - 1)
    widths = np.maximum(np.gradient(centre_frequencies), rate / WINDOW)
    weights = np.maximum(0.0, 1 - np.abs(frequencies[:, None] - centre_frequencies) / widths)
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def _coloured(shade: NDArray[np.floating]) -> Pixels:
    stops = np.linspace(0, 1, len(COLOURS))
    planes = [np.interp(shade, stops, [colour[plane] for colour in COLOURS]) for plane in range(3)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def _draw_frequencies(pixels: Pixels, rate: int) -> None:
    low, high = _ends(rate)
    for frequency in _FREQUENCIES:
        share = (float(_mel(np.array(float(frequency)))) - low) / (high - low)
        if not 0 <= share <= 1.001:
            continue
        y = MARGIN + round((1 - share) * (HEIGHT - 1))
        label = f"{frequency // 1000} kHz" if frequency >= 1000 else f"{frequency} Hz"
        # Labels below 1 kHz would touch each other on a mel scale.
        if frequency in (100, 500, 1000, 2000, 5000, 10_000, 20_000):
            draw_text(pixels, label, MARGIN_LEFT - 6 - text_width(label), y - GLYPH_HEIGHT, INK)
        pixels[y, MARGIN_LEFT - 4 : MARGIN_LEFT - 1] = INK


def _draw_times(pixels: Pixels, seconds: float, width: int) -> None:
    step = next((step for step in _TIMES if seconds / step <= 12), _TIMES[-1])
    for number in range(math.floor(seconds / step + 1e-6) + 1):
        x = MARGIN_LEFT + round(number * step / seconds * (width - 1))
        label = _clock(number * step, step)
        draw_text(pixels, label, max(0, x - text_width(label) // 2), MARGIN + HEIGHT + 8, INK)
        pixels[MARGIN + HEIGHT + 1 : MARGIN + HEIGHT + 5, x] = INK


def _clock(seconds: float, step: float) -> str:
    if step < 1:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
