"""Make a panorama from words with a model of pictures: a picture of any width, if wished one that joins to a circle.

Models are Stable Diffusion 1 and 2, 3 and 3.5 as diffusers stores them: a folder, or a name on the hub. The paper's
pictures are of 3200 x 512 pixels: --width 3200 --height 512 --view 512.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safa_stream.cli import making
from safa_stream.cli.progress import StatusLine
from safa_stream.cli.values import clock, count
from safa_stream.scene import JOINT_METHODS, parse_prompts

if TYPE_CHECKING:
    from safa_stream.models.images.interface import Pixels
    from safa_stream.rendering.panorama import Progress

HELP = "a panorama from words to a picture"
EXTRAS = "torch"
#: The widest that a preview is, in pixels.
PREVIEW_WIDTH = 1024
#: Options that are fields of a Panorama of the same name.
FIELDS = (
    "width", "height", "view", "overlap", "stride", "steps", "guidance", "seed", "method", "swap_interval",
    "reference_ratio", "circular", "batch", "attend_ratio", "perceptual", "sync_weight",
    "sync_steps",
)  # fmt: skip
WHAT = {"step": "step {} of {}", "window": "decoding, window {} of {}"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options. None means the model's own value."""
    parser.add_argument("prompt", help='what is to be seen, such as "hills by a lake, at dusk"')
    parser.add_argument(
        "--model", required=True, metavar="ID|PATH", help="a folder in diffusers' layout, or a hub's id"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("panorama.png"), metavar="FILE", help="PNG, JPEG or WebP, by its extension"
    )
    parser.add_argument("--width", type=count, default=2048, metavar="PIXELS", help="(default 2048)")
    parser.add_argument("--height", type=count, metavar="PIXELS", help="(default: the model's)")
    parser.add_argument("--circular", action="store_true", help="the right end goes on at the left: 360 degrees")
    parser.add_argument("--negative", metavar="PROMPT", help="what is not to be seen")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed is another place (default 0)")
    method = parser.add_argument_group("how it is made")
    method.add_argument("--method", choices=JOINT_METHODS, default="safa", help="how views are joined (default safa)")
    method.add_argument("--steps", type=count, metavar="N", help="sampler steps")
    method.add_argument("--guidance", type=float, metavar="X", help="how closely the words are followed")
    method.add_argument("--view", type=count, metavar="PIXELS", help="width of a view (default: the model's)")
    method.add_argument("--overlap", type=float, metavar="SHARE",
                        help="share of a view that it has in common with the next (default 0.2)")  # fmt: skip
    method.add_argument("--stride", type=count, metavar="PIXELS",
                        help="from one view to the next, instead of --overlap")  # fmt: skip
    method.add_argument("--swap-interval", type=count, default=1, metavar="COLUMNS",
                        help="latent columns that are swapped together (default 1)")  # fmt: skip
    method.add_argument("--reference-ratio", type=float, default=0.3, metavar="SHARE",
                        help="share of the steps that the reference guides (default 0.3)")  # fmt: skip
    method.add_argument(
        "--batch", type=count, default=4, metavar="N", help="views that are denoised at once (default 4)"
    )
    making.add_coupling(method, "")
    making.add_backend(method)
    parser.add_argument("--preview", type=Path, metavar="FILE",
                        help=f"also a small picture, at most {PREVIEW_WIDTH} pixels wide; while the steps run it shows "
                        "what the picture is to become, renewed after every tenth of them")  # fmt: skip
    making.add_force(parser)
    making.add_telling(parser, "no progress, no notes, no summary")


def run(options: argparse.Namespace) -> int:
    """Make the panorama as the options say."""
    from safa_stream.models.images.families import load_images
    from safa_stream.rendering.output import check_target
    from safa_stream.rendering.panorama import about, make, plan
    from safa_stream.rendering.picture import format_of, reduced, write_picture
    from safa_stream.rendering.wanted import Panorama

    wanted = Panorama(
        parse_prompts(options.prompt),
        parse_prompts(options.negative) if options.negative is not None else (),
        **{name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None},
    )
    files = [options.out] if options.preview is None else [options.out, options.preview]
    for file in files:
        format_of(file, 1, 1)
        check_target(file, options.force)
    planned = plan(load_images(options.model, options.backend), wanted)
    described = about(planned, wanted)
    format_of(options.out, described["width"], described["height"])
    _say(options, f"{described['model']}, licence {described['licence']}", *planned.notes)
    line = StatusLine(options.quiet)
    shown: list[Path] = []

    def look(pixels: Pixels) -> None:
        # A file of that name that was there before was allowed for by --force; ours is renewed.
        write_picture(options.preview, reduced(pixels, PREVIEW_WIDTH), described, options.force or bool(shown))
        shown.append(options.preview)

    with making.stop_on_signal(_say_stopping) as stopped:
        made = make(
            planned,
            wanted,
            lambda progress: line.show(_told(progress)),
            lambda: bool(stopped),
            look if options.preview is not None else None,
        )
    line.end()
    if made is None:
        left = f"only {options.preview}, what it was to become" if shown else "no file"
        print(f"safa-stream: interrupted: nothing was finished, {left}", file=sys.stderr)
        return making.INTERRUPTED
    if made.unknown_words:
        _say(options, f"the model was not told these words: {', '.join(made.unknown_words)}")
    write_picture(options.out, made.pixels, described, options.force)
    if options.preview is not None:
        small = reduced(made.pixels, PREVIEW_WIDTH)
        write_picture(options.preview, small, described, options.force or bool(shown))
    _report(
        options, described | {"run_time_s": made.run_time_s, "unknown_words": list(made.unknown_words)}, planned.notes
    )
    return 0


def _told(progress: Progress) -> str:
    line = f"{WHAT[progress.part].format(progress.done, progress.total)}  {100 * progress.done / progress.total:3.0f} %"
    return line if progress.left is None else f"{line}  {clock(progress.left)} left"


def _report(options: argparse.Namespace, result: dict[str, Any], notes: tuple[str, ...]) -> None:
    preview = None if options.preview is None else str(options.preview)
    if options.json:
        print(json.dumps({"file": str(options.out), **result, "preview": preview, "notes": list(notes)}))
    elif not options.quiet:
        lies = "in a circle" if result["circular"] else "in a line"
        print(
            f"{options.out}: {result['width']} x {result['height']} pixels, {result['views']} views {lies}, "
            f"method {result['method']}, seed {result['seed']}, {clock(result['run_time_s'])}"
        )
        if preview is not None:
            print(f"{preview}: the same, small")


def _say(options: argparse.Namespace, *lines: str) -> None:
    for line in () if options.quiet else lines:
        print(f"safa-stream: {line}", file=sys.stderr)


def _say_stopping() -> None:
    print("\nsafa-stream: stopping after this step; Ctrl-C again to give up at once", file=sys.stderr)
