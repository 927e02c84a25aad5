"""What is installed here for making sound, what would be faster, and the command that brings it.

Ends with exit code 1 where something is wrong, such as two packages of ONNX Runtime over each other.

example:
  safa-stream doctor
"""

from __future__ import annotations

import argparse

from safa_stream.cli.figures import tell

HELP = "what is installed here, and what would be faster"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", default="builtin", help="builtin, or a model's folder (default: builtin)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Look and say."""
    from safa_exporters import doctor

    found = doctor.examine(options.model)
    tell(options.json, found.as_dict(), doctor.text(found))
    return 1 if found.wrong else 0
