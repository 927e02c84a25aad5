"""Say how a rendered file was made, and print the command that makes it again.

examples:
  safa-stream info tent.wav
  safa-stream info tent.wav --save-scene tent.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safa_stream.cli.values import clock

HELP = "how a rendered file was made, and the command that makes it again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a file that `safa-stream render` wrote")
    parser.add_argument("--save-scene", type=Path, metavar="FILE", help="save its scene as JSON")
    parser.add_argument("--force", action="store_true", help="replace an existing scene file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what the file says of itself."""
    from safa_stream.rendering.metadata import command, read
    from safa_stream.rendering.output import write_file

    found = read(options.file)
    origin = found.origin
    if options.save_scene is not None:
        write_file(options.save_scene, (origin.scene.to_json() + "\n").encode(), options.force)
    if options.json:
        print(json.dumps(found.as_dict()))
        return 0
    print(f"{found.file}: {clock(found.seconds)}, {found.sample_rate} Hz, {found.channels} channel(s), {found.subtype}")
    print(
        f"made by safa-stream {origin.version} with the model {origin.model} {origin.model_version} "
        f"(licence {origin.licence})"
    )
    if found.seconds < origin.seconds - 0.1:
        print(f"interrupted: {clock(origin.seconds)} were asked for")
    print(command(found))
    return 0
