"""Pictures as files: the format by the file's extension, what it can hold, and what the file says about itself."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from safa_stream import __version__
from safa_stream.errors import OutputError, UsageError
from safa_stream.rendering.output import write_file

Pixels = npt.NDArray[np.uint8]
#: Exif's tags for what a picture shows and for the program that made it.
DESCRIPTION, SOFTWARE = 0x010E, 0x0131


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A format as Pillow names it, the most pixels that it holds in one direction, and how it is written."""

    name: str
    largest: int
    options: Mapping[str, Any]


FORMATS = {
    ".png": PictureFormat("PNG", 2**31 - 1, {}),
    ".jpg": PictureFormat("JPEG", 65535, {"quality": 95, "subsampling": 0}),
    ".jpeg": PictureFormat("JPEG", 65535, {"quality": 95, "subsampling": 0}),
    ".webp": PictureFormat("WEBP", 16383, {"quality": 95, "method": 4}),
}


def format_of(path: Path, width: int, height: int) -> PictureFormat:
    """The format of a file's extension. Raises UsageError for another, and for a picture that it cannot hold."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise UsageError(f"{path}: a picture's name ends in {', '.join(FORMATS)}")
    if max(width, height) > found.largest:
        raise UsageError(f"{path}: {found.name} holds at most {found.largest} pixels in a row; use .png")
    return found


def write_picture(path: Path, pixels: Pixels, about: Mapping[str, Any], force: bool) -> None:
    """Write pixels [H, W, 3] as a whole or not at all, with `about` as JSON inside and its prompt as title.

    Raises OutputError where the file cannot or may not be written, UsageError as `format_of` does.
    """
    kind = format_of(path, pixels.shape[1], pixels.shape[0])
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, kind.name, **kind.options, **_inside(kind, about))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: the picture cannot be made into a {kind.name} file: {error}") from None
    write_file(path, buffer.getvalue(), force)


def reduced(pixels: Pixels, width: int) -> Pixels:
    """The same picture at most so many pixels wide."""
    if pixels.shape[1] <= width:
        return pixels
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _inside(kind: PictureFormat, about: Mapping[str, Any]) -> dict[str, Any]:
    """PNG has text fields for all languages; the others have Exif, whose texts are ASCII."""
    program = f"safa-stream {__version__}"
    if kind.name == "PNG":
        fields = PngImagePlugin.PngInfo()
        for name, text in (
            ("Title", about["prompt"]),
            ("Software", program),
            ("License", about["licence"]),
            ("Comment", json.dumps(about, ensure_ascii=False)),
        ):
            fields.add_itxt(name, text)
        return {"pnginfo": fields}
    tags = Image.Exif()
    tags[DESCRIPTION], tags[SOFTWARE] = json.dumps(about), program
    return {"exif": tags}
