"""PNG files and a small pixel font, so that pictures need no plotting library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

GLYPH_HEIGHT, GLYPH_WIDTH = 5, 3
#: Rows of three pixels from top to bottom, as octal digits: 4 is left, 2 middle, 1 right.
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71122",
    "8": "75757", "9": "75717", ":": "02020", ".": "00002", "-": "00700", " ": "00000", "k": "45655", "H": "55755",
    "z": "07247", "d": "11757", "B": "65656", "s": "03627",
}  # fmt: skip


def encode_png(pixels: Pixels, text: Mapping[str, str]) -> bytes:
    """A PNG file of pixels [height, width, 3]; `text` are keywords and values that image viewers show."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, 3 * width)], axis=1)
    parts = [b"\x89PNG\r\n\x1a\n", _part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    for keyword, value in text.items():
        parts.append(_part(b"iTXt", keyword.encode("ascii") + b"\0\0\0\0\0" + value.encode("utf-8")))
    parts.append(_part(b"IDAT", zlib.compress(rows.tobytes(), 6)))
    return b"".join([*parts, _part(b"IEND", b"")])


def text_width(text: str, scale: int = 2) -> int:
    """Pixels that `draw_text` takes."""
    return len(text) * (GLYPH_WIDTH + 1) * scale - scale


def draw_text(pixels: Pixels, text: str, left: int, top: int, colour: tuple[int, int, int], scale: int = 2) -> None:
    """Draw into pixels [height, width, 3]; what lies outside is left out."""
    for place, letter in enumerate(text):
        rows = [int(digit) for digit in _GLYPHS[letter]]
        glyph = np.array([[row >> (2 - column) & 1 for column in range(GLYPH_WIDTH)] for row in rows], bool)
        y, x = np.nonzero(np.kron(glyph, np.ones((scale, scale), bool)))
        y, x = y + top, x + left + place * (GLYPH_WIDTH + 1) * scale
        inside = (y >= 0) & (x >= 0) & (y < pixels.shape[0]) & (x < pixels.shape[1])
        pixels[y[inside], x[inside]] = colour


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
