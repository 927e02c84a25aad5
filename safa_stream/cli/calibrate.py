"""Measure which backend is the fastest here, and keep the choice: `--backend auto`, the default, then uses it.

Takes a minute or two; nothing else should be busy meanwhile. Only backends that compute in single precision are chosen,
others where you allow them: their sound differs (safa-stream bench backends says by how much).

examples:
  safa-stream calibrate
  safa-stream calibrate --model glacier --allow bf16
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from safa_stream.cli.figures import names, progress, tell
from safa_stream.errors import UsageError

HELP = "find the fastest backend of this machine"
ALLOWED = ("fp16", "bf16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", default="builtin", help="builtin, or a model's folder (default: builtin)")
    parser.add_argument("--allow", type=names, default=(), metavar="PRECISION,...",
                        help=f"precisions besides fp32: {', '.join(ALLOWED)} (default: none)")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="measure and say, keep nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(options: argparse.Namespace) -> int:
    """Calibrate and keep the choice."""
    from safa_exporters import benchmark, calibrate
    from safa_stream.models.builtin.weights import SHIPPED, load_weights

    wrong = [word for word in options.allow if word not in ALLOWED]
    if wrong:
        raise UsageError(f"--allow takes {', '.join(ALLOWED)}, not {wrong[0]!r}")
    weights = load_weights(SHIPPED if options.model == "builtin" else Path(options.model))
    found = calibrate.calibrate(weights, options.allow, progress(options.quiet))
    kept = None if options.dry_run else calibrate.keep(weights, found)
    lines = [benchmark.denoiser_table([asdict(row) for row in found.rows])]
    lines += [f"left out: {each.backend}: {each.reason}" for each in found.left]
    lines.append(f"chosen: {found.chosen}" + (f", kept in {kept}" if kept else ", not kept"))
    tell(options.json, {**found.as_dict(), "kept": kept}, "\n".join(lines))
    return 0
