"""Line plots as SVG text: axes, ticks, a legend, shaded spans. Enough for reports, and nothing to install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 40, 52
COLOURS = ("#1b6ca8", "#d1495b", "#2a9d5c", "#edae49", "#6a4c93", "#00798c", "#8d6e63", "#444444")


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers that divide low..high into about `count` parts."""
    raw = (high - low) / count
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((1.0, 2.0, 2.5, 5.0, 10.0), key=lambda m: abs(m * power - raw))
    first = np.ceil(low / step - 1e-9)
    # Adding 0 makes a zero that came out negative a plain one.
    return [float(step * k) + 0.0 for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def line_plot(
    series: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    title: str,
    x_label: str,
    y_label: str,
    spans: Sequence[tuple[float, float]] = (),
    levels: Sequence[float] = (),
) -> str:
    """An SVG document of named curves (x, y), with `spans` of x shaded and horizontal `levels` dashed."""
    curves = {name: (np.asarray(x, float), np.asarray(y, float)) for name, (x, y) in series.items()}
    every_x = np.concatenate([x for x, _ in curves.values()])
    every_y = np.concatenate([y[np.isfinite(y)] for _, y in curves.values()] + [np.asarray(levels, float)])
    x_low, x_high = float(every_x.min()), float(every_x.max())
    margin = 0.05 * max(float(np.ptp(every_y)), 1e-6)
    y_low, y_high = float(every_y.min()) - margin, float(every_y.max()) + margin
    x_high = x_high if x_high > x_low else x_low + 1.0
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(value: float) -> float:
        return LEFT + wide * (value - x_low) / (x_high - x_low)

    def at_y(value: float) -> float:
        return TOP + tall * (y_high - value) / (y_high - y_low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for begin, end in spans:
        out.append(
            f'<rect x="{at_x(begin):.1f}" y="{TOP}" width="{at_x(end) - at_x(begin):.1f}" height="{tall}" '
            'fill="#eef2f6"/>'
        )
    for value in ticks(x_low, x_high):
        out.append(_line(at_x(value), TOP + tall, at_x(value), TOP + tall + 5))
        out.append(f'<text x="{at_x(value):.1f}" y="{TOP + tall + 19}" text-anchor="middle">{value:g}</text>')
    for value in ticks(y_low, y_high):
        out.append(_line(LEFT, at_y(value), LEFT + wide, at_y(value), 'stroke="#dddddd"'))
        out.append(f'<text x="{LEFT - 8}" y="{at_y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in levels:
        out.append(_line(LEFT, at_y(value), LEFT + wide, at_y(value), 'stroke="#777777" stroke-dasharray="5 4"'))
    for number, (name, (x, y)) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        shown = np.isfinite(y)
        points = " ".join(f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in zip(x[shown], y[shown], strict=True))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        row = TOP + 10 + 18 * number
        out.append(_line(LEFT + wide + 12, row, LEFT + wide + 32, row, f'stroke="{colour}" stroke-width="2"'))
        out.append(f'<text x="{LEFT + wide + 38}" y="{row + 4}">{escape(name)}</text>')
    out.append(f'<rect x="{LEFT}" y="{TOP}" width="{wide}" height="{tall}" fill="none" stroke="#333333"/>')
    out.append(f'<text x="{LEFT + wide / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>')
    out.append(
        f'<text x="16" y="{TOP + tall / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 16 {TOP + tall / 2:.0f})">{escape(y_label)}</text>'
    )
    return "\n".join([*out, "</svg>", ""])


def _line(x1: float, y1: float, x2: float, y2: float, style: str = 'stroke="#333333"') -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'
