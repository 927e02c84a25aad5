"""`safa-stream render --batch`: many files from a list, by processes of this machine or by workers of a Ray cluster.

It goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safa_stream.cli import making
from safa_stream.cli.progress import StatusLine
from safa_stream.cli.values import clock, count
from safa_stream.errors import UsageError

if TYPE_CHECKING:
    from safa_stream.rendering.batch.jobs import Job
    from safa_stream.rendering.batch.run import Report, Standing
    from safa_stream.rendering.batch.workers import Workers

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
    batch.add_argument(
        "--workers", type=count, metavar="N", help="processes (default: one a core, or slot of a cluster)"
    )
    batch.add_argument("--cluster", metavar="WHERE",
                       help="make them on a Ray cluster: local, auto, or HOST:PORT of its head")  # fmt: skip


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
    from safa_stream.rendering.batch.run import run_batch

    jobs = read_jobs(options.batch, _defaults(options))
    line = StatusLine(options.quiet)
    with making.stop_on_signal(_say_stopping) as stopped, _workers(jobs, options, line) as workers:
        report = run_batch(
            jobs,
            options.out,
            workers,
            backend=options.backend,
            again=options.force,
            report=lambda standing: line.show(_line(standing)),
            stop=lambda: bool(stopped),
        )
    line.end()
    _tell(report, options)
    return making.INTERRUPTED if report.interrupted else int(report.failed > 0)


@contextmanager
def _workers(jobs: Sequence[Job], options: argparse.Namespace, line: StatusLine) -> Iterator[Workers]:
    from safa_stream.rendering.batch.run import default_workers
    from safa_stream.rendering.batch.workers import Processes

    if options.cluster is None:
        yield Processes(options.workers or default_workers(len(jobs)))
        return
    from safa_stream.rayclusters import LOCAL, connected
    from safa_stream.rendering.batch.actors import Actors, slots, wants_gpu

    def say(said: str) -> None:
        line.end()
        if not options.quiet:
            print(f"safa-stream: {said}", file=sys.stderr)

    here = options.workers or default_workers(len(jobs))
    with connected(options.cluster, cpus=here if options.cluster == LOCAL else None) as cluster:
        gpu = wants_gpu(cluster, jobs, options.backend)
        workers = options.workers or max(1, min(slots(cluster, gpu), len(jobs)))
        yield Actors(cluster, workers, gpu, say)


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
