"""The kind of `safa-stream eval` that holds the live continuation against its rivals."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from safa_stream.cli.figures import add_common, command_line, names, progress, tell
from safa_stream.cli.values import count


def add_kind(kinds: Any) -> None:
    """Declare it."""
    kind = kinds.add_parser("continuation", help="the stream beside look-ahead, queues, outpainting and joint canvases")
    add_common(kind)
    kind.add_argument("--classes", default="", help="sounds to measure, with commas (default: all)")
    kind.add_argument("--methods", default="", help="rows, with commas (default: all)")
    kind.add_argument("--seeds", type=count, default=1, help="sounds a class and method (default: 1)")
    kind.add_argument("--views", type=count, default=4, help="views a sound (default: 4)")
    kind.add_argument("--steps", type=count, default=None, help="solver steps (default: the model's)")
    kind.add_argument("--pairs", type=int, default=4, help="changes of prompt, at most 4; 0: none (default: 4)")
    kind.add_argument("--minutes", type=int, default=0, help="follow drift for so long (default: 0, not at all)")
    kind.add_argument("--prompt", default="rain", help="what drifts (default: rain)")
    kind.add_argument("--follow", default="", help="methods whose drift is followed, with commas (default: all)")
    kind.add_argument("--classifier", type=Path, metavar="FILE", help="YAMNet .tflite; default: log-mel statistics")
    kind.add_argument("--out", type=Path, metavar="FILE.md", help="write the page, and figures and plots beside it")


def run_continuation(options: argparse.Namespace) -> int:
    """Measure, print the tables, write what was asked for."""
    from safa_stream.evaluation.continuation import methods, page, results
    from safa_stream.evaluation.continuation.run import Wanted, run
    from safa_stream.evaluation.embedding import embedder
    from safa_stream.evaluation.generate import Settings
    from safa_stream.models import load

    chosen = methods.chosen(names(options.methods))
    settings = Settings(options.views, options.steps)
    wanted = Wanted(
        names(options.classes),
        options.seeds,
        settings,
        max(0, options.pairs),
        max(0, options.minutes),
        options.prompt,
        names(options.follow),
    )
    ears = embedder(options.classifier)
    command = command_line()
    so_far = None if options.out is None else (lambda found: page.write(found, options.out, command))
    found = run(load(options.model, options.backend), chosen, wanted, ears, progress(options.quiet), so_far)
    tell(options.json, results.as_dict(found), page.table(found))
    return 0
