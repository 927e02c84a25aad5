"""Measure a model, its seams, a long stream, the stream beside its rivals, or SaFa beside other ways to join views.

examples:
  safa-stream eval model recordings --classifier yamnet.tflite
  safa-stream eval seams --seeds 8 --plot seams.svg
  safa-stream eval drift "rain" --minutes 30 --recordings recordings
  safa-stream eval paper --quick --classifier yamnet.tflite --out docs/experiments
  safa-stream eval sweep reference-ratio --quick
  safa-stream eval continuation --classifier yamnet.tflite --minutes 30 --out docs/studies/continuation.md
  safa-stream eval channels --out docs/studies/channels.md
  safa-stream eval panorama --model ./stable-diffusion-2 --clip ./clip --features ./dinov2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safa_stream.cli.eval_channels import add_channels_kind, run_channels
from safa_stream.cli.eval_continuation import add_kind, run_continuation
from safa_stream.cli.eval_images import add_panorama_kind, run_panorama
from safa_stream.cli.eval_paper import add_kinds, run_kind
from safa_stream.cli.figures import add_common, names, progress, tell, write
from safa_stream.cli.values import count

HELP = "measure a model, seams between views, drift over a long stream, the stream's rivals; the paper's experiment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the kinds."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND", title="kinds")

    model = kinds.add_parser("model", help="generated clips against real recordings")
    _common(model)
    model.add_argument("--classes", default="", help="sounds to measure, with commas (default: all)")
    model.add_argument("recordings", type=Path, metavar="FOLDER", help="recordings that the model was trained on")
    model.add_argument("--classifier", type=Path, metavar="FILE", help="YAMNet .tflite; default: log-mel statistics")
    model.add_argument("--clips", type=count, default=20, help="clips a class (default: 20)")
    model.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    model.add_argument("--pairs", type=int, default=20, help="captions of two sounds (default: 20)")
    model.add_argument("--first-seed", type=int, default=0, help="clips take this seed and the following")
    model.add_argument("--cache", type=Path, metavar="FOLDER", help="keep the measured recordings here")

    seams = kinds.add_parser("seams", help="the change at every frame border around the seams between views")
    _common(seams)
    seams.add_argument("--classes", default="", help="sounds to measure, with commas (default: all)")
    seams.add_argument("--seeds", type=count, default=8, help="sounds a class and way (default: 8)")
    seams.add_argument("--views", type=count, default=5, help="views a sound (default: 5)")
    seams.add_argument("--hop", type=count, help="frames that each view adds, if fewer than usual (with --ways stream)")
    seams.add_argument("--ways", default="", help="compared ways, with commas (default: all)")
    seams.add_argument("--on-latents", action="store_true", help="measure the latents' own log-mel: faster, no clicks")
    seams.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the profiles")

    drift = kinds.add_parser("drift", help="loudness, liveliness and repetition over a long stream")
    _common(drift)
    drift.add_argument("prompt", nargs="?", default="rain", help="what to stream (default: rain)")
    drift.add_argument("--minutes", type=count, default=30, help="length of the stream (default: 30)")
    drift.add_argument("--seed", type=int, default=0)
    drift.add_argument("--recordings", type=Path, metavar="FOLDER", help="real recordings to compare repetition with")
    drift.add_argument("--sound", metavar="CLASS", help="their class (default: the prompt, if it is one)")
    drift.add_argument("--classifier", type=Path, metavar="FILE", help="YAMNet .tflite; default: log-mel statistics")
    drift.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw loudness and variance by minute")

    add_kinds(kinds)
    add_kind(kinds)
    add_channels_kind(kinds)
    add_panorama_kind(kinds)


def _common(parser: argparse.ArgumentParser) -> None:
    add_common(parser)
    parser.add_argument("--steps", type=count, default=None, help="solver steps (default: the model's)")
    parser.add_argument("--guidance", type=float, default=None, help="guidance scale (default: the model's)")


def run(options: argparse.Namespace) -> int:
    """Measure and print the figures."""
    own = {
        "model": _model,
        "seams": _seams,
        "drift": _drift,
        "continuation": run_continuation,
        "channels": run_channels,
        "panorama": run_panorama,
    }
    return own.get(options.kind, run_kind)(options)


def _model(options: argparse.Namespace) -> int:
    from safa_stream.evaluation import model as measure
    from safa_stream.models import load

    found = measure.measure(
        load(options.model, options.backend),
        options.recordings,
        options.classifier,
        options.clips,
        options.seconds,
        options.guidance,
        options.steps,
        range(options.first_seed, options.first_seed + options.clips),
        names(options.classes),
        options.pairs,
        options.cache,
        progress(options.quiet),
    )
    tell(options.json, measure.as_dict(found), measure.table(found))
    return 0


def _seams(options: argparse.Namespace) -> int:
    from safa_stream.errors import UsageError
    from safa_stream.evaluation import seams
    from safa_stream.evaluation.generate import WAYS, Settings
    from safa_stream.models import load

    chosen = names(options.ways) or tuple(WAYS)
    unknown = [name for name in chosen if name not in WAYS]
    if unknown or seams.SHIPPED not in chosen:
        raise UsageError(f"--ways takes '{seams.SHIPPED}' and others of {', '.join(WAYS)}, not {options.ways!r}")
    found = seams.measure(
        load(options.model, options.backend),
        names(options.classes),
        range(options.seeds),
        {name: WAYS[name] for name in chosen},
        Settings(options.views, options.steps, options.guidance, hop=options.hop),
        options.on_latents,
        progress(options.quiet),
    )
    if options.plot:
        write(options.plot, seams.picture(found))
    tell(options.json, seams.as_dict(found), seams.table(found))
    return 0


def _drift(options: argparse.Namespace) -> int:
    from safa_stream.evaluation import drift
    from safa_stream.evaluation.embedding import embedder
    from safa_stream.models import load
    from safa_stream.scene import Scene, parse_prompts

    model = load(options.model, options.backend)
    sound = options.sound or (options.prompt if options.prompt in model.facts.sounds else None)
    scene = Scene(
        parse_prompts(options.prompt),
        seed=options.seed,
        steps=options.steps,
        guidance=options.guidance,
        model=options.model,
    )
    found = drift.measure(
        model, scene, options.minutes, options.recordings, sound, embedder(options.classifier), progress(options.quiet)
    )
    if options.plot:
        write(options.plot, drift.picture(found))
    tell(options.json, drift.as_dict(found), drift.table(found))
    return 0
