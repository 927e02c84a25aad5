"""Measure speed, first chunk, memory, the engine's own share, and streaming against averaging.

example:
  safa-stream bench --minutes 30 --json
"""

from __future__ import annotations

import argparse

from safa_stream.cli.figures import add_common, progress, tell

HELP = "measure speed and memory on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--prompt", default="rain")
    parser.add_argument("--seconds", type=float, default=60.0, help="sound of a speed run (default: 60)")
    parser.add_argument("--minutes", type=float, default=30.0, help="sound of the memory run (default: 30)")


def run(options: argparse.Namespace) -> int:
    """Measure and print the figures."""
    from safa_stream.evaluation import bench
    from safa_stream.models import load

    model = load(options.model, options.device)
    report = progress(options.quiet)
    found = bench.measure(model, options.model, options.prompt, options.seconds, options.minutes, report)
    tell(options.json, found, bench.table(found))
    return 0
