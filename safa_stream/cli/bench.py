"""`safa-stream bench`: speed, first chunk, memory, the engine's own share, and streaming against averaging."""

from __future__ import annotations

import argparse
from typing import Any

from safa_stream.cli.evaluate import progress, tell


def add(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("bench", help="measure speed and memory on this machine")
    parser.add_argument("--model", default="builtin", help="a model's name or folder (default: builtin)")
    parser.add_argument("--device", default="cpu", help="of the speed runs; fresh processes run on the CPU")
    parser.add_argument("--prompt", default="rain")
    parser.add_argument("--seconds", type=float, default=60.0, help="sound of a speed run (default: 60)")
    parser.add_argument("--minutes", type=float, default=30.0, help="sound of the memory run (default: 30)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print the figures."""
    from safa_stream.evaluation import bench
    from safa_stream.models import load

    model = load(args.model, args.device)
    found = bench.measure(model, args.model, args.prompt, args.seconds, args.minutes, progress(args.quiet))
    tell(args.json, found, bench.table(found))
    return 0
