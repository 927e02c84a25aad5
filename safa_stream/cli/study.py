"""`safa-stream study`: every swap schedule of the stream beside joint SaFa, as a page with its numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from safa_stream.cli.evaluate import count, names, numbers, progress, tell


def add(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("study", help="compare the stream's swap schedules and write the page")
    parser.add_argument("--out", type=Path, default=Path("docs/studies/swap-schedule.md"), metavar="FILE.md")
    parser.add_argument("--model", default="builtin", help="a model's name or folder (default: builtin)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--classes", default="", help="sounds, with commas (default: all)")
    parser.add_argument(
        "--schedules", default="", help="schedules, with commas (default: all, with context and without)"
    )
    parser.add_argument("--steps", default="", help="step counts, with commas (default: the model's and 50)")
    parser.add_argument("--seeds", type=count, default=8, help="sounds a class and schedule (default: 8)")
    parser.add_argument("--views", type=count, default=5, help="views a sound (default: 5)")
    parser.add_argument("--on-latents", action="store_true", help="measure the latents' own log-mel: faster")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write the page, print its tables."""
    from safa_stream.errors import UsageError
    from safa_stream.evaluation import study
    from safa_stream.evaluation.generate import Settings
    from safa_stream.models import load

    model = load(args.model, args.device)
    every = study.schedules(model.facts.takes_context)
    chosen = names(args.schedules) or tuple(every)
    unknown = [name for name in chosen if name not in every]
    if unknown:
        raise UsageError(f"no swap schedule is called {', '.join(unknown)}; there are {', '.join(every)}")
    found = study.measure(
        model,
        {name: every[name] for name in chosen},
        names(args.classes),
        range(args.seeds),
        numbers(args.steps),
        Settings(args.views),
        args.on_latents,
        progress(args.quiet),
    )
    command = f"safa-stream study --seeds {args.seeds} --views {args.views}" + (
        " --on-latents" if args.on_latents else ""
    )
    study.write(found, args.out, command)
    tell(args.json, study.as_dict(found), study.markdown(found, command))
    return 0
