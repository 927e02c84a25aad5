"""`safa-stream render --batch`: many files from a list, by processes of this machine, going on where it was stopped."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safa_stream.cli import making
from safa_stream.cli.progress import StatusLine
from safa_stream.cli.values import clock, count
from safa_stream.errors import UsageError

if TYPE_CHECKING:
    from safa_stream.rendering.batch.run import Report, Standing

#: Options of one render that are defaults of all jobs, by the job's field.
DEFAULTS = (
    "duration", "negative", "seed", "steps", "guidance", "overlap", "swap_interval", "reference_ratio", "method",
    "mode", "loop", "model", "rate", "channels", "channel_map", "format", "bits",
)  # fmt: skip
#: Options that are of one file.
SINGLE = (
    "at",
    "morph",
    "scene",
    "save_scene",
    "spectrogram",
    "perceptual",
    "attend_ratio",
    "sync_weight",
    "sync_steps",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    batch = parser.add_argument_group(
        "many files",
        'JOBS has a JSON object a line: {"out": "tent.flac", "prompt": "rain on a tent", "duration": 60}, with the '
        "names of the options above (scene: a scene's JSON, spectrogram: true); options given here hold for jobs that "
        "do not say otherwise. Repeat the command to go on with what is not there yet.",
    )
    batch.add_argument("--batch", type=Path, metavar="JOBS", help="a list of renders; --out is the folder for them")
    batch.add_argument("--workers", type=count, metavar="N", help="processes (default: one a core)")


def run(options: argparse.Namespace) -> int:
    """Make the batch, and report. Exit code 1 where a job failed."""
    if options.prompt is not None:
        raise UsageError("a batch has its prompts in the list: leave the prompt out")
    single = [name for name in SINGLE if getattr(options, name) is not None]
    if single:
        raise UsageError(f"--{single[0].replace('_', '-')} is for one file, not for a batch")
    if options.out is None:
        raise UsageError("a batch needs --out FOLDER")
    from safa_stream.rendering.batch.jobs import read_jobs
    from safa_stream.rendering.batch.run import default_workers, run_batch
    from safa_stream.rendering.batch.workers import Processes

    jobs = read_jobs(options.batch, _defaults(options))
    workers = options.workers or default_workers(len(jobs))
    line = StatusLine(options.quiet)
    with making.stop_on_signal(_say_stopping) as stopped:
        report = run_batch(
            jobs,
            options.out,
            Processes(workers),
            backend=options.backend,
            again=options.force,
            report=lambda standing: line.show(_line(standing)),
            stop=lambda: bool(stopped),
        )
    line.end()
    _tell(report, options)
    return making.INTERRUPTED if report.interrupted else int(report.failed > 0)


def _defaults(options: argparse.Namespace) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in DEFAULTS if getattr(options, name) is not None}
    return {**values, "lufs": "off" if options.lufs is None else options.lufs}


def _say_stopping() -> None:
    print("\nsafa-stream: ending with the next finished file; Ctrl-C again to end now", file=sys.stderr)


def _line(standing: Standing) -> str:
    done = standing.skipped + standing.done + standing.failed
    line = f"{done} of {standing.jobs} files"
    if standing.failed:
        line += f", {standing.failed} failed"
    if standing.left is not None and standing.elapsed > 0:
        line += f"  {clock(standing.left)} left  {standing.sound / standing.elapsed:.1f} x real time"
    return line


def _tell(report: Report, options: argparse.Namespace) -> None:
    for failure in report.failures:
        print(f"safa-stream: {failure['out']}: {failure['error']}", file=sys.stderr)
    if options.json:
        print(json.dumps(report.as_dict()))
    elif not options.quiet:
        there = f", {report.skipped} were there" if report.skipped else ""
        failed = f", {report.failed} failed" if report.failed else ""
        print(
            f"{options.out}: {report.done} files made{there}{failed}; {clock(report.sound)} of sound in "
            f"{clock(report.wall)}, {report.real_time_factor:.1f} x real time; all of it in {report.ledger}"
        )
    if report.interrupted:
        print("safa-stream: interrupted: repeat the command to go on", file=sys.stderr)
