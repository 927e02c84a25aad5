"""Make a live performance again from its journal: the same sound to the bit, or a better one with more steps.

`safa-stream serve --state FOLDER` keeps a journal of every session.

examples:
  safa-stream replay sessions/uX3k/journal.jsonl --out evening.wav
  safa-stream replay evening.jsonl --out better.flac --steps 50
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from safa_stream.cli import making
from safa_stream.cli.values import count
from safa_stream.errors import UsageError

HELP = "make a live performance again from its journal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="a session's journal.jsonl")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="sound file, .wav (32 bit) or another")
    parser.add_argument("--steps", type=count, metavar="N", help="solver steps a view (default: as it was performed)")
    parser.add_argument("--model", default="builtin", metavar="NAME", help="the model that it was performed with")
    making.add_backend(parser)
    making.add_force(parser)
    making.add_telling(parser, "no progress, no summary")


def run(options: argparse.Namespace) -> int:
    """Replay as the options say."""
    from safa_stream.models import load
    from safa_stream.rendering.performance import render_performance

    if options.steps is not None and options.steps < 1:
        raise UsageError("--steps must be 1 or more")
    model = load(options.model, options.backend)
    making.say_licence(options.model, model.facts, options.quiet)
    began, last = time.perf_counter(), 0.0

    def progress(done: float, total: float) -> None:
        nonlocal last
        now = time.perf_counter()
        if not options.quiet and now - last > 1.0:
            last = now
            print(f"{done:.0f} of {total:.0f} s, {done / max(now - began, 1e-9):.1f} x real time", file=sys.stderr)

    made = render_performance(model, options.journal, options.out, options.steps, options.force, progress)
    if options.json:
        print(json.dumps(made))
    elif not options.quiet:
        print(f"{made['file']}: {made['seconds']:.2f} s, {made['views']} views")
    return 0
