"""Compare the stream's swap schedules with joint SaFa and write the page with its numbers.

example:
  safa-stream study --classes rain,ocean --seeds 4 --steps 8,50
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safa_stream.cli.figures import add_common, names, numbers, progress, tell
from safa_stream.cli.values import count

HELP = "compare the stream's swap schedules and write the page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--out", type=Path, default=Path("docs/studies/swap-schedule.md"), metavar="FILE.md")
    parser.add_argument("--classes", default="", help="sounds, with commas (default: all)")
    parser.add_argument(
        "--schedules", default="", help="schedules, with commas (default: all, with context and without)"
    )
    parser.add_argument("--steps", type=numbers, default=(), help="with commas (default: the model's and 50)")
    parser.add_argument("--seeds", type=count, default=8, help="sounds a class and schedule (default: 8)")
    parser.add_argument("--views", type=count, default=5, help="views a sound (default: 5)")
    parser.add_argument("--on-latents", action="store_true", help="measure the latents' own log-mel: faster")


def run(options: argparse.Namespace) -> int:
    """Measure, write the page, print its tables."""
    from safa_stream.errors import UsageError
    from safa_stream.evaluation import study
    from safa_stream.evaluation.generate import Settings
    from safa_stream.models import load

    model = load(options.model, options.backend)
    every = study.schedules(model.facts.takes_context)
    chosen = names(options.schedules) or tuple(every)
    unknown = [name for name in chosen if name not in every]
    if unknown:
        raise UsageError(f"no swap schedule is called {', '.join(unknown)}; there are {', '.join(every)}")
    command = f"safa-stream study --seeds {options.seeds} --views {options.views}"
    command += f" --classes {options.classes}" if options.classes else ""
    command += f" --schedules '{options.schedules}'" if options.schedules else ""
    command += " --on-latents" if options.on_latents else ""
    found = study.measure(
        model,
        {name: every[name] for name in chosen},
        names(options.classes),
        range(options.seeds),
        options.steps,
        Settings(options.views),
        options.on_latents,
        progress(options.quiet),
        lambda found: study.write(found, options.out, command),
    )
    tell(options.json, study.as_dict(found), study.markdown(found, command))
    return 0
