"""Measure speed, first chunk, memory, the engine's own share, and streaming against averaging; or a live server.

`bench live` starts a server and measures it with clients of its own: how soon it is heard and does what it is told, how
many sessions it keeps fed, what listeners cost. `bench soak` has sessions attacked for as long as one likes, counts
every sample of the others, and ends with exit code 1 where something was wrong.

`bench cluster` starts a Ray cluster on this machine: what each engine adds, whether a session that moves sounds as one
that stays, and what is lost when an engine or a front end is killed.
`bench capacity` measures what sessions, encodings, listeners and relays cost, and says how many machines a number of
listeners needs.
`bench day` lets a day pass in a cluster, at the pace that this machine makes: engines are killed and frozen, the disk
is slow and full, the network breaks, clocks jump, the head begins anew, guests come and go. It counts every sample,
replays what was heard, and ends with exit code 1 where something was wrong. The model is a formula: it costs next to
nothing.

`bench backends` times the networks on every backend that is installed, in turns, as ratios to torch's own fp32.

`bench panorama` times the ways to join views of pictures, in turns, as ratios to SaFa's: of a model of pictures, or of
a known architecture at its full size with random weights, which take as long as trained ones.

examples:
  safa-stream bench backends
  safa-stream bench --minutes 30 --json
  safa-stream bench live
  safa-stream bench soak --seconds 3600 --json
  safa-stream bench cluster --engines 2
  safa-stream bench day --hours 24 --json
  safa-stream bench panorama --architecture stable-diffusion-3.5-medium --view 512 --height 512 --average-overlap 0.8
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safa_stream.cli import bench_capacity
from safa_stream.cli.eval_images import add_sizes, maker, methods_of
from safa_stream.cli.figures import add_common, numbers, progress, tell
from safa_stream.cli.values import BACKEND, count, duration, positive
from safa_stream.models import BUILTIN

HELP = "measure speed and memory on this machine, or a live server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--prompt", default="rain")
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="sound of a speed run, and a fifth of the stream that is compared with averaging (default: 60)",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="sound of the memory run (default: 30)")
    parser.set_defaults(what=None)
    whats = parser.add_subparsers(
        title="of a live server, of backends, or of pictures",
        metavar="[live|soak|day|cluster|capacity|backends|panorama]",
        dest="what",
        required=False,
    )
    live = _part(whats, "live", "how soon, how many, how cheap for listeners")
    live.add_argument("--prompt", default=argparse.SUPPRESS, help="what sessions sound like (default: rain)")
    live.add_argument("--runs", type=count, default=5, metavar="N", help="sessions for the first audio (default: 5)")
    live.add_argument("--changes", type=count, default=20, metavar="N", help="of prompt and of gain (default: 20)")
    live.add_argument("--hold", type=duration, default=30.0, metavar="TIME",
                      help="how long all sessions that were taken are held (default: 30)")  # fmt: skip
    live.add_argument("--listeners", type=count, default=200, metavar="N", help="of one session (default: 200)")
    live.add_argument("--window", type=positive, default=10.0, metavar="SECONDS",
                      help="of each measurement of CPU time, at least (default: 10)")  # fmt: skip
    soak = _part(whats, "soak", "sessions that go on beside hostile clients")
    soak.add_argument("--seconds", type=duration, default=120.0, metavar="TIME", help="how long (default: 120)")
    soak.add_argument("--sessions", type=count, default=4, metavar="N", help="half of them attacked (default: 4)")
    day = whats.add_parser("day", help="a cluster's day, with a fault every ten minutes", allow_abbrev=False)
    day.add_argument("--hours", type=positive, default=24.0, metavar="N", help="of one session (default: 24)")
    day.add_argument("--seed", type=int, default=0, metavar="N", help="of scenes, guests and moments (default: 0)")
    day.add_argument("--fault-every", type=positive, default=600.0, metavar="SECONDS",
                     help="of that session, between two faults (default: 600)")  # fmt: skip
    for flag in ("--json", "--quiet", "--debug"):
        day.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    cluster = _part(whats, "cluster", "engines on a Ray cluster: what each adds, and what is heard of losses")
    cluster.add_argument("--engines", type=count, default=2, metavar="N", help="at most (default: 2)")
    cluster.add_argument("--sessions", type=count, default=8, metavar="N",
                         help="of the engine that is killed (default: 8)")  # fmt: skip
    cluster.add_argument("--moves", type=count, default=3, metavar="N", help="of one session (default: 3)")
    cluster.add_argument("--window", type=positive, default=12.0, metavar="SECONDS",
                         help="of each measurement of throughput (default: 12)")  # fmt: skip
    bench_capacity.add_arguments(_part(whats, "capacity", bench_capacity.ABOUT))
    backends = whats.add_parser("backends", help="the networks on every backend", allow_abbrev=False)
    backends.add_argument("--model", default=argparse.SUPPRESS, help="a model's name or folder (default: builtin)")
    backends.add_argument("--int8", type=Path, metavar="FOLDER",
                          help="an int8 export of the model, to be measured as well")  # fmt: skip
    backends.add_argument("--fused", type=Path, metavar="FOLDER",
                          help="an export with --fused swap, to be compared with its parts")  # fmt: skip
    backends.add_argument("--batches", type=numbers, default=(1, 2, 4, 8), metavar="N,...", help="(default: 1,2,4,8)")
    for flag in ("--json", "--quiet", "--debug"):
        backends.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    panorama = whats.add_parser("panorama", help="ways to join views of pictures", allow_abbrev=False)
    panorama.add_argument("--model", metavar="ID|PATH", default=argparse.SUPPRESS, help="a model of pictures")
    panorama.add_argument("--architecture", metavar="NAME",
                          help="random weights: stable-diffusion-2, stable-diffusion-3.5-medium or -large")  # fmt: skip
    panorama.add_argument("--tiny", action="store_true", help="a few small layers of the architecture, to try this out")
    panorama.add_argument("--runs", type=count, default=3, metavar="N", help="pictures a method (default: 3)")
    panorama.add_argument("--backend", default=argparse.SUPPRESS, help=BACKEND)
    add_sizes(panorama)
    for flag in ("--json", "--quiet", "--debug"):
        panorama.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Measure and print the figures."""
    if options.what is not None:
        parts = {
            "live": _live,
            "soak": _soak,
            "day": _day,
            "cluster": _cluster,
            "capacity": bench_capacity.run,
            "backends": _backends,
            "panorama": _panorama,
        }
        return parts[options.what](options)
    from safa_stream.evaluation import bench
    from safa_stream.models import load

    model = load(options.model, options.backend)
    report = progress(options.quiet)
    found = bench.measure(
        model, options.model, options.backend, options.prompt, options.seconds, options.minutes, report
    )
    tell(options.json, found, bench.table(found))
    return 0


def _part(whats: Any, name: str, about: str) -> argparse.ArgumentParser:
    """A part's parser: what the command's own options said holds where it says nothing."""
    part: argparse.ArgumentParser = whats.add_parser(name, help=about, description=about, allow_abbrev=False)
    same: dict[str, Any] = {"default": argparse.SUPPRESS}
    part.add_argument("--model", help="a model's name or folder (default: builtin)", **same)
    part.add_argument("--backend", help=BACKEND, **same)
    part.add_argument("--json", action="store_true", help="print one JSON object", **same)
    part.add_argument("--quiet", action="store_true", help="no progress", **same)
    part.add_argument("--debug", action="store_true", help="show the whole trace of an error", **same)
    part.add_argument("--steps", type=count, metavar="N", help="solver steps (default: the model's)")
    part.add_argument("--layers", type=count, metavar="N", help="that the server takes (default: by its speed)")
    part.add_argument("--random", type=int, default=0, metavar="N", help="seed of sounds and moments (default: 0)")
    return part


def _live(options: argparse.Namespace) -> int:
    from safa_server.measuring import live, meanings
    from safa_server.measuring.servers import measured

    plan = live.LivePlan(
        model=options.model,
        backend=options.backend,
        prompt=options.prompt,
        steps=options.steps,
        layers=options.layers,
        runs=options.runs,
        changes=options.changes,
        hold=options.hold,
        listeners=options.listeners,
        window=options.window,
        seed=options.random,
    )
    _say(options, measured(live.measure(plan, progress(options.quiet))), meanings.LIVE)
    return 0


def _soak(options: argparse.Namespace) -> int:
    from safa_server.measuring import meanings, soak
    from safa_server.measuring.servers import measured

    plan = soak.SoakPlan(
        seconds=options.seconds,
        sessions=options.sessions,
        model=options.model,
        backend=options.backend,
        steps=options.steps,
        layers=options.layers,
        seed=options.random,
    )
    found = measured(soak.soak(plan, progress(options.quiet)))
    _say(options, found, meanings.SOAK)
    for word in ("broken", "not_judged"):
        for line in found[word]:
            progress(False)(f"{word.replace('_', ' ')}: {line}")
    return 1 if found["broken"] else 0


def _day(options: argparse.Namespace) -> int:
    from safa_server.measuring import meanings
    from safa_server.measuring.day import model, run
    from safa_server.measuring.servers import measured

    plan = run.DayPlan(options.hours, options.seed, options.fault_every)
    found = measured(run.day(plan, progress(options.quiet)))
    options.model = model.FACTS.name
    _say(options, found, meanings.DAY)
    for line in found["broken"]:
        progress(False)(f"broken: {line}")
    return 1 if found["broken"] else 0


def _cluster(options: argparse.Namespace) -> int:
    from safa_server.measuring import cluster, meanings
    from safa_server.measuring.servers import measured

    plan = cluster.ClusterPlan(
        engines=options.engines,
        sessions=options.sessions,
        moves=options.moves,
        window=options.window,
        model=options.model,
        backend=options.backend,
        steps=options.steps,
        seed=options.random,
    )
    _say(options, measured(cluster.measure(plan, progress(options.quiet))), meanings.CLUSTER)
    return 0


def _backends(options: argparse.Namespace) -> int:
    from safa_exporters import benchmark

    found = benchmark.measure(options.model, options.batches, progress(options.quiet), options.int8, options.fused)
    tell(options.json, found, benchmark.table(found))
    return 0


def _panorama(options: argparse.Namespace) -> int:
    from safa_exporters.sources.pictures import random_model
    from safa_stream.errors import UsageError
    from safa_stream.evaluation.images import experiment, report
    from safa_stream.evaluation.images.networks import Eyes
    from safa_stream.models.images.families import load_images

    methods = methods_of(options)
    if options.architecture is not None:
        model = random_model(options.architecture, options.backend, options.tiny)
        options.perceptual = options.perceptual or Path("random")
    elif options.model == BUILTIN:
        raise UsageError("bench panorama needs --model, a model of pictures, or --architecture for random weights")
    else:
        model = load_images(options.model, options.backend)
    make, say = maker(model, options), progress(options.quiet)
    for method in methods:
        say(f"{method}: what is slow only at first")
        make("hills", 0, method)
    found = experiment.measure(make, model.facts.name, methods, ("hills",), range(options.runs), Eyes(), say)
    tell(options.json, found.as_dict(), report.table(found))
    return 0


def _say(options: argparse.Namespace, found: Mapping[str, Any], meanings: Sequence[tuple[str, str]]) -> None:
    from safa_stream.evaluation.bench import machine
    from safa_stream.evaluation.tables import cell

    rows = [(name, cell("-" if found[name] is None else found[name]), meaning) for name, meaning in meanings]
    names, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    about = machine()
    busy = f"{found['load_before']:.1f} processes wanted to run in the minute before"
    lines = [f"{name.ljust(names)}  {value.rjust(values)}  {meaning}" for name, value, meaning in rows]
    table = "\n".join([f"{about}; {busy}; model {options.model}", "", *lines])
    tell(options.json, {**found, "machine": about, "model": options.model}, table)
