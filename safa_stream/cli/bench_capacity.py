"""The part of `safa-stream bench` that measures what sessions and listeners cost, and plans machines from it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from safa_stream.cli.figures import progress, write
from safa_stream.cli.values import count, positive

ABOUT = "what sessions and listeners cost here, and how many machines that makes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that are its own."""
    parser.add_argument("--costs", type=Path, metavar="FILE", help="costs of an earlier run (--json); measures nothing")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="write the tables into this page (docs/capacity.md), figures and plot beside")  # fmt: skip
    parser.add_argument("--listeners", type=count, default=200, metavar="N", help="of one session (default: 200)")
    parser.add_argument("--window", type=positive, default=15.0, metavar="SECONDS",
                        help="of each measurement of CPU time, at least (default: 15)")  # fmt: skip
    parser.add_argument("--full", type=positive, default=130.0, metavar="SECONDS",
                        help="of sound until a session's memory is measured (default: 130)")  # fmt: skip
    parser.add_argument("--largest", type=count, default=10_000, metavar="N",
                        help="sessions of the largest day that is simulated, at least 10 (default: 10000)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Measure, or read costs; plan, simulate, and tell."""
    from safa_server.measuring.costs import CostPlan, measure
    from safa_server.measuring.servers import measured
    from safa_server.planning import page
    from safa_server.planning.costs import Costs
    from safa_server.sections import with_tables
    from safa_stream.errors import UsageError

    report = progress(options.quiet)
    # Before minutes are spent.
    text = None if options.out is None else _page(options.out)
    if options.largest < page.DAYS[0]:
        raise UsageError(f"--largest must be at least {page.DAYS[0]}")
    if options.costs is not None:
        costs = Costs.read(options.costs)
    else:
        plan = CostPlan(
            model=options.model,
            backend=options.backend,
            steps=options.steps,
            window=options.window,
            listeners=options.listeners,
            full=options.full,
        )
        costs = measured(measure(plan, report))
    days = page.simulations(costs, report, options.largest)
    found, tables = page.figures(costs, days), page.tables(costs, days)
    if text is not None:
        write(options.out, with_tables(text, tables))
        write(options.out.with_suffix(".json"), json.dumps(found) + "\n")
        write(options.out.with_name(f"{options.out.stem}-day.svg"), page.picture(days))
    # Every digit: costs are read again.
    print(json.dumps(found) if options.json else _as_text(tables))
    return 0


def _page(path: Path) -> str:
    from safa_stream.errors import UsageError

    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        wanted = "a page with marks for tables, such as docs/capacity.md"
        raise UsageError(f"--out {path} must be {wanted}: {error.strerror}") from None


def _as_text(tables: Mapping[str, Callable[[], str]]) -> str:
    return "\n".join(f"{name}:\n\n{made()}" for name, made in tables.items())
