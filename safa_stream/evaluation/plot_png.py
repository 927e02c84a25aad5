"""The project's SVG plots as PNG pictures, drawn with Pillow; it knows the shapes that `plot.line_plot` writes."""

from __future__ import annotations

import importlib.util
import io
import xml.etree.ElementTree as xml
from collections.abc import Mapping
from typing import TYPE_CHECKING

from safa_stream.errors import UsageError

if TYPE_CHECKING:
    from PIL import ImageDraw

#: Pixels of the picture for one of the drawing, so that text stays sharp.
SCALE = 2


def available() -> bool:
    """Whether Pillow is installed."""
    return importlib.util.find_spec("PIL") is not None


def png(svg: str) -> bytes:
    """A PNG file of an SVG document of rectangles, lines, polylines and texts in plain units.

    Raises:
        UsageError: Pillow is not installed.
    """
    if not available():
        raise UsageError("PNG plots need Pillow: pip install pillow")
    from PIL import Image, ImageDraw

    root = xml.fromstring(svg)
    size = tuple(round(float(root.attrib[name]) * SCALE) for name in ("width", "height"))
    picture = Image.new("RGB", (size[0], size[1]), "white")
    draw = ImageDraw.Draw(picture)
    for element in root:
        told = element.attrib
        kind = element.tag.rpartition("}")[2]
        if kind == "rect":
            _rectangle(draw, told)
        elif kind == "line":
            ends = [float(told[name]) * SCALE for name in ("x1", "y1", "x2", "y2")]
            _stroke(draw, [(ends[0], ends[1]), (ends[2], ends[3])], told)
        elif kind == "polyline":
            points = [tuple(float(v) * SCALE for v in pair.split(",")) for pair in told["points"].split()]
            _stroke(draw, [(x, y) for x, y in points], told)
        elif kind == "text":
            _text(picture, element.text or "", told)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _rectangle(draw: ImageDraw.ImageDraw, told: Mapping[str, str]) -> None:
    left, top = (float(told.get(name, "0")) * SCALE for name in ("x", "y"))
    right, bottom = left + float(told["width"]) * SCALE, top + float(told["height"]) * SCALE
    fill = told.get("fill", "none")
    draw.rectangle((left, top, right, bottom), None if fill == "none" else fill, told.get("stroke"), SCALE)


def _stroke(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], told: Mapping[str, str]) -> None:
    """A line through points; a dashed one is a straight line of two points."""
    width = max(1, round(float(told.get("stroke-width", "1")) * SCALE))
    if "stroke-dasharray" not in told or len(points) != 2:
        draw.line(points, told["stroke"], width)
        return
    on, off = (float(part) * SCALE for part in told["stroke-dasharray"].split())
    (x1, y1), (x2, y2) = points
    length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1e-9)
    at = 0.0
    while at < length:
        a, b = at / length, min(length, at + on) / length
        draw.line([(x1 + a * (x2 - x1), y1 + a * (y2 - y1)), (x1 + b * (x2 - x1), y1 + b * (y2 - y1))], told["stroke"])
        at += on + off


def _text(picture: object, text: str, told: Mapping[str, str]) -> None:
    """A text at its baseline; one with a transform is turned a quarter to the left about its middle."""
    from PIL import Image, ImageDraw, ImageFont

    assert isinstance(picture, Image.Image)
    font = ImageFont.load_default(float(told.get("font-size", "12")) * SCALE)
    x, y = (float(told[name]) * SCALE for name in ("x", "y"))
    if "transform" not in told:
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[told.get("text-anchor", "start")]
        ImageDraw.Draw(picture).text((x, y), text, "black", font, anchor)
        return
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    wide, tall = round(right - left) + 2, round(bottom - top) + 2
    line = Image.new("RGB", (wide, tall), "white")
    ImageDraw.Draw(line).text((-left, -top), text, "black", font, "ls")
    turned = line.rotate(90, expand=True)
    picture.paste(turned, (round(x - tall), round(y - wide / 2)))
