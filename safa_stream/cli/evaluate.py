"""`safa-stream eval model | seams | drift`: measures of sounds, seams and long streams."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add(subparsers: Any) -> None:
    """Declare the command and its kinds."""
    parser = subparsers.add_parser("eval", help="measure a model, its seams, or a long stream")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")

    model = kinds.add_parser("model", help="generated clips against real recordings")
    _common(model)
    model.add_argument("recordings", type=Path, metavar="FOLDER", help="recordings that the model was trained on")
    model.add_argument("--classifier", type=Path, metavar="FILE", help="YAMNet .tflite; default: log-mel statistics")
    model.add_argument("--clips", type=count, default=20, help="clips a class (default: 20)")
    model.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    model.add_argument("--pairs", type=int, default=20, help="captions of two sounds (default: 20)")
    model.add_argument("--first-seed", type=int, default=0, help="clips take this seed and the following")
    model.add_argument("--cache", type=Path, metavar="FOLDER", help="keep the measured recordings here")
    model.set_defaults(run=run_model)

    seams = kinds.add_parser("seams", help="the change at every frame border around the seams between views")
    _common(seams)
    seams.add_argument("--seeds", type=count, default=8, help="sounds a class and way (default: 8)")
    seams.add_argument("--views", type=count, default=5, help="views a sound (default: 5)")
    seams.add_argument("--ways", default="", help="compared ways, with commas (default: all)")
    seams.add_argument("--on-latents", action="store_true", help="measure the latents' own log-mel: faster, no clicks")
    seams.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the profiles")
    seams.set_defaults(run=run_seams)

    drift = kinds.add_parser("drift", help="loudness, liveliness and repetition over a long stream")
    _common(drift, several=False)
    drift.add_argument("prompt", nargs="?", default="rain", help="what to stream (default: rain)")
    drift.add_argument("--minutes", type=count, default=30, help="length of the stream (default: 30)")
    drift.add_argument("--seed", type=int, default=0)
    drift.add_argument("--recordings", type=Path, metavar="FOLDER", help="real recordings to compare repetition with")
    drift.add_argument("--sound", metavar="CLASS", help="their class (default: the prompt, if it is one)")
    drift.add_argument("--classifier", type=Path, metavar="FILE", help="YAMNet .tflite; default: log-mel statistics")
    drift.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw loudness and variance by minute")
    drift.set_defaults(run=run_drift)


def _common(parser: argparse.ArgumentParser, several: bool = True) -> None:
    parser.add_argument("--model", default="builtin", help="a model's name or folder (default: builtin)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=count, default=None, help="solver steps (default: the model's)")
    parser.add_argument("--guidance", type=float, default=None, help="guidance scale (default: the model's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    if several:
        parser.add_argument("--classes", default="", help="sounds to measure, with commas (default: all)")


def count(text: str) -> int:
    """A whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text}")
    return value


def run_model(args: argparse.Namespace) -> int:
    """Measure generated clips and print the figures."""
    from safa_stream.evaluation import model as measure
    from safa_stream.models import load

    found = measure.measure(
        load(args.model, args.device),
        args.recordings,
        args.classifier,
        args.clips,
        args.seconds,
        args.guidance,
        args.steps,
        range(args.first_seed, args.first_seed + args.clips),
        names(args.classes),
        args.pairs,
        args.cache,
        progress(args.quiet),
    )
    tell(args.json, measure.as_dict(found), measure.table(found))
    return 0


def run_seams(args: argparse.Namespace) -> int:
    """Measure seams and print the figures."""
    from safa_stream.errors import UsageError
    from safa_stream.evaluation import seams
    from safa_stream.evaluation.generate import WAYS, Settings
    from safa_stream.models import load

    chosen = names(args.ways) or tuple(WAYS)
    unknown = [name for name in chosen if name not in WAYS]
    if unknown or seams.SHIPPED not in chosen:
        raise UsageError(f"--ways takes '{seams.SHIPPED}' and others of {', '.join(WAYS)}, not {args.ways!r}")
    found = seams.measure(
        load(args.model, args.device),
        names(args.classes),
        range(args.seeds),
        {name: WAYS[name] for name in chosen},
        Settings(args.views, args.steps, args.guidance),
        args.on_latents,
        progress(args.quiet),
    )
    if args.plot:
        write(args.plot, seams.picture(found))
    tell(args.json, seams.as_dict(found), seams.table(found))
    return 0


def run_drift(args: argparse.Namespace) -> int:
    """Follow a long stream and print the figures."""
    from safa_stream.evaluation import drift
    from safa_stream.evaluation.embedding import embedder
    from safa_stream.models import load
    from safa_stream.scene import Scene, parse_prompts

    model = load(args.model, args.device)
    sound = args.sound or (args.prompt if args.prompt in model.facts.sounds else None)
    scene = Scene(
        parse_prompts(args.prompt), seed=args.seed, steps=args.steps, guidance=args.guidance, model=args.model
    )
    found = drift.measure(
        model, scene, args.minutes, args.recordings, sound, embedder(args.classifier), progress(args.quiet)
    )
    if args.plot:
        write(args.plot, drift.picture(found))
    tell(args.json, drift.as_dict(found), drift.table(found))
    return 0


def names(text: str) -> tuple[str, ...]:
    """Words separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def progress(quiet: bool) -> Any:
    """A report to standard error, or none."""
    return (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))


def tell(as_json: bool, figures: dict[str, Any], table: str) -> None:
    """One JSON object, or the table, on standard output."""
    from safa_stream.evaluation.tables import to_json

    print(to_json(figures) if as_json else table)


def write(path: Path, text: str) -> None:
    """Write a text file. Raises OutputError where that is not possible."""
    from safa_stream.errors import OutputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def numbers(text: str) -> Sequence[int]:
    """Whole numbers separated by commas."""
    return [count(part) for part in names(text)]
