"""Plots as PNG pictures: what is drawn is where the SVG has it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from safa_stream.evaluation.plot import COLOURS, LEFT, RIGHT, WIDTH, line_plot
from safa_stream.evaluation.plot_png import SCALE, png


def pixels(svg: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(svg))).convert("RGB")).astype(int)


def coloured(picture: np.ndarray, colour: str) -> np.ndarray:
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return np.asarray(np.abs(picture - wanted).sum(2) == 0)


def test_a_curve_is_drawn_from_end_to_end_in_its_colour() -> None:
    picture = pixels(line_plot({"one": ([0, 1, 2], [0.0, 1.0, 0.0])}, "Title", "x", "y", [(0, 1)], [0.5]))
    assert picture.shape[1] == WIDTH * SCALE
    inside = coloured(picture, COLOURS[0])[:, LEFT * SCALE : (WIDTH - RIGHT) * SCALE]
    rows, columns = np.nonzero(inside)
    assert columns.min() < 5 and columns.max() > inside.shape[1] - 5
    # The peak is in the middle, above both ends.
    assert abs(columns[rows.argmin()] - inside.shape[1] / 2) < 10


def test_words_and_shading_are_drawn() -> None:
    plain = pixels(line_plot({"one": ([0, 1], [0.0, 1.0])}, "", "", ""))
    worded = pixels(line_plot({"one": ([0, 1], [0.0, 1.0])}, "Title", "x axis", "y axis"))
    changed = np.abs(plain - worded).sum(2) > 0
    height, width = changed.shape
    assert changed[: 30 * SCALE].any() and changed[height - 30 * SCALE :].any() and changed[:, : 24 * SCALE].any()
    assert not changed[100 * SCALE : 300 * SCALE, LEFT * SCALE : width - RIGHT * SCALE].any()
    shaded = pixels(line_plot({"one": ([0, 1], [0.0, 1.0])}, "", "", "", [(0.2, 0.4)]))
    assert coloured(shaded, "#eef2f6").sum() > 1000 > coloured(plain, "#eef2f6").sum()
