"""What `eval panorama` and `bench panorama` share: pictures by each way of joining views, and their figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safa_stream.cli.figures import names
from safa_stream.cli.values import BACKEND, count
from safa_stream.scene import JOINT_METHODS

if TYPE_CHECKING:
    from safa_stream.evaluation.images.experiment import Maker
    from safa_stream.models.images.interface import ImageModel

#: What is seen where no prompts are named.
PROMPTS = "hills by a lake at dusk;a street in the rain;a forest in autumn;the skyline of a city at night"
#: MAD and SyncDiffusion are named where they are wanted: each takes as long as all others together.
SHOWN = ("safa", "safa-self", "average", "triangular", "independent")


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """What is made, of which size."""
    parser.add_argument(
        "--methods", default=",".join(SHOWN), help=f"of {', '.join(JOINT_METHODS)} (default: {','.join(SHOWN)})"
    )
    parser.add_argument("--width", type=count, default=3200, metavar="PIXELS", help="(default: 3200)")
    parser.add_argument("--height", type=count, metavar="PIXELS", help="(default: the model's)")
    parser.add_argument("--view", type=count, metavar="PIXELS", help="width of a view (default: the model's)")
    parser.add_argument("--overlap", type=float, default=None, metavar="SHARE", help="of SaFa's views (default: 0.2)")
    parser.add_argument("--average-overlap", type=float, default=None, metavar="SHARE",
                        help="of other methods' views (default: the same; MultiDiffusion's habit: 0.8)")  # fmt: skip
    parser.add_argument("--steps", type=count, metavar="N", help="sampler steps (default: the model's)")
    parser.add_argument("--guidance", type=float, metavar="X", help="(default: the model's)")
    parser.add_argument("--batch", type=count, default=4, metavar="N", help="views denoised at once (default: 4)")
    parser.add_argument("--perceptual", type=Path, metavar="FILE",
                        help="a VGG16's weights in safetensors: for I-LPIPS, and for syncdiffusion")  # fmt: skip


def add_panorama_kind(kinds: Any) -> None:
    """Declare `eval panorama`."""
    kind = kinds.add_parser("panorama", help="the paper's panorama experiment on a model of pictures")
    kind.add_argument("--model", required=True, metavar="ID|PATH", help="a folder in diffusers' layout, or a hub's id")
    kind.add_argument("--backend", default="auto", help=BACKEND)
    kind.add_argument("--json", action="store_true", help="print one JSON object")
    kind.add_argument("--quiet", action="store_true", help="no progress")
    kind.add_argument("--prompts", default=PROMPTS, help="what is to be seen, with semicolons (default: four)")
    kind.add_argument("--seeds", type=count, default=4, help="pictures a prompt (default: 4)")
    add_sizes(kind)
    kind.add_argument("--features", metavar="FOLDER_OR_ID|FILE.onnx|inception",
                      help="of FID and KID: a network of transformers or an .onnx file")  # fmt: skip
    kind.add_argument("--clip", metavar="FOLDER_OR_ID", help="a CLIP model in the layout of transformers")
    kind.add_argument("--style", type=Path, metavar="FILE", help="a VGG19's weights in safetensors: for I-StyleL")
    kind.add_argument("--out", type=Path, metavar="FOLDER", help="write a page and its figures as JSON here")
    kind.set_defaults(extras="torch,eval")


def run_panorama(options: argparse.Namespace) -> int:
    """Make, look, tell."""
    from safa_stream.cli.figures import command_line, progress, tell
    from safa_stream.evaluation.images import experiment, report
    from safa_stream.evaluation.images.networks import open_eyes
    from safa_stream.evaluation.paper.run import write_files
    from safa_stream.models.images.families import load_images

    eyes = open_eyes(options.features, options.clip, options.perceptual, options.style)
    model = load_images(options.model, options.backend)
    prompts = [prompt.strip() for prompt in options.prompts.split(";") if prompt.strip()]
    found = experiment.measure(
        maker(model, options),
        model.facts.name,
        methods_of(options),
        prompts,
        range(options.seeds),
        eyes,
        progress(options.quiet),
    )
    if options.out:
        write_files(options.out, "panorama", report.markdown(found, command_line()), found.as_dict(), {})
    tell(options.json, found.as_dict(), report.table(found))
    return 0


def methods_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The methods named. Raises UsageError for an unknown one."""
    from safa_stream.errors import UsageError

    unknown = [name for name in names(options.methods) if name not in JOINT_METHODS]
    if unknown:
        raise UsageError(f"no method is called {', '.join(unknown)}; --methods takes {', '.join(JOINT_METHODS)}")
    return names(options.methods)


def maker(model: ImageModel, options: argparse.Namespace) -> Maker:
    """Makes pictures as the options say."""
    from safa_stream.evaluation.images.experiment import Shot
    from safa_stream.rendering.panorama import calls, make, plan
    from safa_stream.rendering.wanted import Panorama
    from safa_stream.scene import parse_prompts

    view = options.view or model.facts.view_frames * model.facts.scale

    def made(prompt: str, seed: int, method: str | None) -> Shot:
        overlap = options.overlap
        if method is not None and not method.startswith("safa") and options.average_overlap is not None:
            overlap = options.average_overlap
        wanted = Panorama(
            parse_prompts(prompt),
            width=view if method is None else options.width,
            height=options.height,
            view=options.view,
            overlap=overlap,
            steps=options.steps,
            guidance=options.guidance,
            seed=seed,
            method=method or "independent",
            batch=options.batch,
            perceptual=options.perceptual if method == "syncdiffusion" else None,
        )
        planned = plan(model, wanted)
        picture = make(planned, wanted)
        if picture is None:
            raise KeyboardInterrupt
        return Shot(picture.pixels, picture.run_time_s, calls(planned, wanted))

    return made
