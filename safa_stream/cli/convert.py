"""Copy a checkpoint whose weights are pickled (.bin), with its weights as safetensors, which `--model` then loads.

Pickled files can run code when they are loaded, so no other command reads them. This one does it by torch's
weights-only unpickler, which makes tensors and refuses everything else; still, convert only what you trust.

examples:
  hf download cvssp/audioldm --local-dir audioldm
  safa-stream convert audioldm --out audioldm-safe
  safa-stream render "rain" --model audioldm-safe --out rain.wav
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "pickled weights of a checkpoint as safetensors, once and on purpose"
EXTRAS = "torch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a checkpoint directory in diffusers layout")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the copy to make; must not exist")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(options: argparse.Namespace) -> int:
    """Convert, and say what was written."""
    from safa_stream.models.pretrained.unpickling import convert

    def progress(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr, flush=True)

    written = convert(options.folder, options.out, progress)
    if options.json:
        print(json.dumps({"folder": str(options.out), "written": list(written)}))
    elif not options.quiet:
        print(f"{options.out}: {len(written)} file{'s' * (len(written) != 1)} as safetensors")
    return 0
