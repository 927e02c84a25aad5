"""List the models that `--model` takes: the built-in one, known ones on the hub, and those on this machine.

An id is downloaded when it is first used. Folders that are given are looked through, too.
"needs" is what a view of default length takes: a guided call of the denoiser, in seconds of one core.

examples:
  safa-stream models
  safa-stream models ~/models --json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safa_stream.models.pretrained.catalogue import Installed, Known

HELP = "the models that there are, and which of them are on this machine"
EXTRAS = "torch"
#: Of the built-in model on its view of 6.4 s, by ONNX Runtime.
BUILTIN_CORE_SECONDS = 0.03
COLUMNS = ("model", "here", "GB", "kHz", "channels", "licence", "needs", "for")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="where else to look for models")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print the list."""
    rows = [_builtin(), *_pretrained(options.folders)]
    if options.json:
        print(json.dumps({"models": rows}))
        return 0
    lines = [COLUMNS, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _builtin() -> dict[str, Any]:
    from safa_stream.models.builtin.features import SAMPLE_RATE
    from safa_stream.models.builtin.weights import SHIPPED, load_weights

    return {
        "model": "builtin",
        "pipeline": None,
        "installed": True,
        "folder": str(SHIPPED),
        "gigabytes": round(sum(path.stat().st_size for path in SHIPPED.iterdir()) / 1e9, 2),
        "sample_rate": SAMPLE_RATE,
        "channels": 2,
        "licence": load_weights(SHIPPED).config["licence"],
        "core_seconds": BUILTIN_CORE_SECONDS,
        "use": "soundscapes, live on a laptop",
    }


def _pretrained(folders: list[Path]) -> list[dict[str, Any]]:
    from safa_stream.models.pretrained.catalogue import KNOWN, cache_folder, installed

    here = {made.name: made for made in installed(cache_folder(), folders)}
    rows = [_known(known, here.pop(known.name, None)) for known in KNOWN]
    return rows + [_other(made) for made in here.values()]


def _known(known: Known, made: Installed | None) -> dict[str, Any]:
    return {
        "model": known.name,
        "pipeline": known.pipeline,
        "installed": made is not None,
        "folder": None if made is None else str(made.folder),
        "gigabytes": known.gigabytes if made is None else made.gigabytes,
        "sample_rate": known.sample_rate,
        "channels": known.channels,
        "licence": known.licence if made is None else made.licence,
        "core_seconds": known.core_seconds,
        "use": known.use,
    }


def _other(made: Installed) -> dict[str, Any]:
    return {
        "model": made.name,
        "pipeline": made.pipeline,
        "installed": True,
        "folder": str(made.folder),
        "gigabytes": made.gigabytes,
        "sample_rate": made.sample_rate,
        "channels": made.channels,
        "licence": made.licence,
        "core_seconds": None,
        "use": made.pipeline,
    }


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    seconds, rate = row["core_seconds"], row["sample_rate"]
    return (
        row["model"],
        "yes" if row["installed"] else "",
        f"{row['gigabytes']:g}",
        "" if rate is None else f"{rate / 1000:g}",
        "" if row["channels"] is None else str(row["channels"]),
        row["licence"],
        "" if seconds is None else f"{seconds:g} s",
        row["use"],
    )
