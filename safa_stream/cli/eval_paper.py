"""The kinds of `safa-stream eval` that repeat the paper: its audio experiment, its analyses, and sweeps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safa_stream.cli.figures import add_common, command_line, names, numbers, progress, tell
from safa_stream.cli.values import count

if TYPE_CHECKING:
    from safa_stream.evaluation.paper.experiment import Setup
    from safa_stream.evaluation.paper.hearing import Ears
    from safa_stream.models.interface import Model

#: `--quick`: what is enough for a first look, in less than five minutes on two cores.
QUICK_STEPS, QUICK_PROMPTS = 20, 6
STEPS, PROMPTS, SEEDS, GUIDANCE = 200, 10, 2, 3.5


def add_kinds(kinds: Any) -> None:
    """Declare the kinds: paper, fourier, connectivity, joins, sweep."""
    paper = kinds.add_parser("paper", help="the paper's audio experiment: SaFa beside MD, MD*, MAD and native views")
    _common(paper)
    _ears(paper)
    paper.add_argument("--methods", default="", help="rows, with commas (default: all that the backend can make)")
    paper.add_argument("--views", type=numbers, default=None, help="views of the canvases (default: 3,6,9)")

    fourier = kinds.add_parser("fourier", help="what joining does to the latents' high frequencies, step by step")
    _common(fourier)

    connectivity = kinds.add_parser("connectivity", help="how far one linear map leads from latents to the spectrum")
    _common(connectivity)
    connectivity.add_argument("--autoencoder", type=Path, metavar="FOLDER",
                              help="measure this instead: an AutoencoderKL or AutoencoderOobleck of diffusers, alone "
                              "or in a pipeline")  # fmt: skip
    connectivity.add_argument("--examples", type=Path, metavar="FOLDER",
                              help="what it encodes: pictures, or recordings")  # fmt: skip

    joins = kinds.add_parser("joins", help="ways to join views: what each does to a model's latents and its sound")
    _common(joins)
    joins.add_argument("--views", type=count, default=4, help="views of a canvas (default: 4)")

    sweep = kinds.add_parser("sweep", help="one parameter over its range")
    sweep.add_argument("parameter", metavar="NAME", help="reference-ratio, interval, overlap, steps or views")
    _common(sweep)
    _ears(sweep)
    sweep.add_argument("--values", default="", help="with commas (default: the parameter's range)")


def _common(parser: argparse.ArgumentParser) -> None:
    add_common(parser)
    parser.add_argument("--quick", action="store_true", help="few steps and prompts: minutes instead of hours")
    parser.add_argument("--prompts", default="", help="what is to be heard, with commas (default: sounds it knows)")
    parser.add_argument("--seeds", type=count, default=None, help="clips a prompt (default: 2; quick: 1)")
    parser.add_argument("--steps", type=count, default=None, help="DDIM steps (default: 200; quick: 20)")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="guidance scale (default: 3.5)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write a page, its figures as JSON, and plots here")


def _ears(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classifier", type=Path, metavar="FILE", help="YAMNet .tflite; default: log-mel statistics")
    parser.add_argument("--fad", type=Path, metavar="FILE", help="embedding network for FAD, .onnx or .tflite")
    parser.add_argument("--clap", metavar="FOLDER_OR_ID", help="a CLAP model in the layout of transformers")


def run_kind(options: argparse.Namespace) -> int:
    """Measure, print the figures, and write the files that were asked for."""
    kinds = {
        "paper": _paper,
        "fourier": _fourier,
        "connectivity": _connectivity,
        "joins": _joins,
        "sweep": _sweep,
    }
    return kinds[options.kind](options)


def _paper(options: argparse.Namespace) -> int:
    from safa_stream.evaluation.paper import report, run
    from safa_stream.evaluation.paper.methods import VIEWS, chosen, open_to, paper_jobs

    methods, views = chosen(names(options.methods)), tuple(options.views or VIEWS)
    ears, model = _open_ears(options), _model(options)
    methods, left_out = (methods, "") if options.methods else open_to(model, methods)
    setup = _setup(options, model, views[0])
    jobs = paper_jobs(methods, views, setup.steps)
    if left_out and not options.quiet:
        print(f"safa-stream: {left_out}", file=sys.stderr)
    found = run.run(model, jobs, setup, ears, progress(options.quiet))
    if options.out:
        pictures = {"paper-change": report.picture(found, model)}
        page = report.markdown(found, command_line(), [f"{name}.svg" for name in pictures])
        run.write_files(options.out, "paper", page, report.as_dict(found), pictures)
    tell(options.json, report.as_dict(found), report.table(found))
    return 0


def _fourier(options: argparse.Namespace) -> int:
    from safa_stream.evaluation.paper import fourier, fourier_page, run

    model = _model(options)
    found = fourier.measure(model, _setup(options, model, 3), progress(options.quiet))
    if options.out:
        pictures = fourier_page.pictures(found)
        run.write_files(options.out, "fourier", fourier_page.markdown(found, command_line()), found.as_dict(), pictures)
    tell(options.json, found.as_dict(), fourier_page.table(found))
    return 0


def _connectivity(options: argparse.Namespace) -> int:
    from safa_stream.evaluation.paper import connectivity, connectivity_page, run

    if options.autoencoder or options.examples:
        return _inheritance(options)
    model = _model(options)
    found = connectivity.measure(model, _setup(options, model, 3), progress(options.quiet))
    if options.out:
        page = connectivity_page.markdown(found, command_line())
        run.write_files(options.out, "connectivity", page, found.as_dict(), connectivity_page.pictures(found))
    tell(options.json, found.as_dict(), connectivity_page.table(found))
    return 0


def _inheritance(options: argparse.Namespace) -> int:
    from safa_stream.errors import UsageError
    from safa_stream.evaluation.paper import connectivity_page, inheritance, run

    if not (options.autoencoder and options.examples):
        raise UsageError("--autoencoder and --examples go together: what encodes, and a folder of what it encodes")
    found = inheritance.measure(options.autoencoder, options.examples, progress(options.quiet))
    if options.out:
        page = connectivity_page.autoencoder_markdown(found, command_line())
        run.write_files(options.out, f"connectivity-{found.columns}", page, found.as_dict(), {})
    tell(options.json, found.as_dict(), connectivity_page.autoencoder_table(found))
    return 0


def _joins(options: argparse.Namespace) -> int:
    from safa_stream.evaluation.paper import joins, joins_page, run

    model = _model(options)
    found = joins.measure(model, _setup(options, model, options.views), progress(options.quiet))
    if options.out:
        pictures = joins_page.pictures(found)
        run.write_files(options.out, "joins", joins_page.markdown(found, command_line()), found.as_dict(), pictures)
    tell(options.json, found.as_dict(), joins_page.table(found))
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from safa_stream.evaluation.paper import run, sweep, sweep_page

    plan = sweep.named(options.parameter, names(options.values), quick=options.quick)
    ears, model = _open_ears(options), _model(options)
    setup = _setup(options, model, 3)
    found = sweep.measure(model, plan, setup, ears, progress(options.quiet))
    if options.out:
        name = f"sweep-{options.parameter}"
        page = sweep_page.markdown(found, command_line())
        run.write_files(options.out, name, page, sweep.as_dict(found), sweep_page.pictures(found))
    tell(options.json, sweep.as_dict(found), sweep_page.table(found))
    return 0


def _model(options: argparse.Namespace) -> Model:
    from safa_stream.models import load

    return load(options.model, options.backend)


def _open_ears(options: argparse.Namespace) -> Ears:
    from safa_stream.evaluation.paper.hearing import open_ears

    return open_ears(options.classifier, options.fad, options.clap)


def _setup(options: argparse.Namespace, model: Model, views: int) -> Setup:
    from safa_stream.evaluation.paper.experiment import Setup, default_prompts

    quick = options.quick
    prompts = names(options.prompts) or default_prompts(model, QUICK_PROMPTS if quick else PROMPTS)
    return Setup(
        prompts,
        tuple(range(options.seeds or (1 if quick else SEEDS))),
        options.steps or (QUICK_STEPS if quick else STEPS),
        options.guidance,
        views,
    )
