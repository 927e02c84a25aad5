"""The kind of `safa-stream eval` that holds the groups of a sound of many channels against each other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from safa_stream.cli.figures import add_common, command_line, names, progress, tell
from safa_stream.cli.values import count


def add_channels_kind(kinds: Any) -> None:
    """Declare it."""
    kind = kinds.add_parser("channels", help="groups of channels: how uncorrelated they are, how alike they sound")
    add_common(kind)
    kind.add_argument("--classes", default="", help="sounds to measure, with commas (default: all)")
    kind.add_argument("--channels", type=count, default=4, metavar="N", help="channels, 3 to 16 (default: 4)")
    kind.add_argument("--seeds", type=count, default=2, help="clips a sound (default: 2)")
    kind.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    kind.add_argument("--steps", type=count, default=None, help="solver steps (default: the model's)")
    kind.add_argument("--out", type=Path, metavar="FILE.md", help="write the page")


def run_channels(options: argparse.Namespace) -> int:
    """Measure, print the tables, write what was asked for."""
    from safa_stream.errors import UsageError
    from safa_stream.evaluation import channels
    from safa_stream.models import load

    model = load(options.model, options.backend)
    if options.channels <= model.facts.channels:
        raise UsageError(f"--channels takes more than the model's {model.facts.channels}: there is one group of those")
    if options.seconds <= 0:
        raise UsageError("--seconds takes a length above 0")
    found = channels.measure(
        model,
        names(options.classes),
        range(options.seeds),
        options.seconds,
        options.channels,
        options.steps,
        progress(options.quiet),
    )
    if options.out is not None:
        channels.write(found, options.out, command_line())
    tell(options.json, channels.as_dict(found), channels.table(found))
    return 0
