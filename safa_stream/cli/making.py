"""What commands that make sound share: options of what is heard and what is printed, and how Ctrl-C stops them."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safa_stream.cli.values import BACKEND, duration
from safa_stream.scene import ATTEND_RATIO, SYNC_STEPS, SYNC_WEIGHT

if TYPE_CHECKING:
    from safa_stream.models.interface import ModelFacts

#: The exit code of what Ctrl-C or SIGTERM ended early.
INTERRUPTED = 130
MODEL = "builtin, a model's folder, or an id on the hub such as cvssp/audioldm2; NAME@5 has views of 5 s"


def add_prompt(parser: argparse.ArgumentParser) -> None:
    """The words, which a scene may stand for."""
    parser.add_argument("prompt", nargs="?", help='what is to be heard, such as "rain on a tent, distant thunder:0.4"')


def add_duration(parser: argparse.ArgumentParser, default: float | None, said: str) -> None:
    """--duration in seconds; `said`: the default in words."""
    parser.add_argument("--duration", type=duration, default=default, metavar="TIME",
                        help=f"length: 90, 1:30 or 0:01:30 (default{said})")  # fmt: skip


def add_scene(group: argparse.ArgumentParser | argparse._ArgumentGroup, use: str) -> None:
    """--seed and --scene; `use`: what is done with a saved scene."""
    group.add_argument("--seed", type=int, metavar="N", help="another seed is another place (default 0)")
    group.add_argument("--scene", type=Path, metavar="FILE", help=f"{use} a saved scene; options override it")


def add_model(group: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--model, None where the scene says which, and --backend."""
    group.add_argument("--model", metavar="NAME", help=MODEL)
    add_backend(group)


def say_licence(name: str, facts: ModelFacts, quiet: bool) -> None:
    """One line on standard error that says which terms hold for a pretrained model. name: as it was asked for."""
    from safa_stream.models import is_pretrained

    if not quiet and is_pretrained(name):
        layout = "mono" if facts.channels == 1 else "stereo"
        print(
            f"safa-stream: model {facts.name}, licence {facts.licence}, {facts.sample_rate / 1000:g} kHz {layout}",
            file=sys.stderr,
        )


def add_backend(group: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--backend."""
    group.add_argument("--backend", default="auto", metavar="NAME", help=BACKEND)


def add_coupling(group: argparse.ArgumentParser | argparse._ArgumentGroup, without: str) -> None:
    """The numbers of the methods mad and syncdiffusion, None where not said; `without`: a network to compare by."""
    share = f"mad: share of the steps in which views attend to each other (default {ATTEND_RATIO:g})"
    network = f"syncdiffusion: a VGG16's weights, as of timm/vgg16.tv_in1k, in safetensors{without}"
    weight = f"syncdiffusion: how far views follow the middle one at first (default {SYNC_WEIGHT:g})"
    group.add_argument("--attend-ratio", type=float, metavar="SHARE", help=share)
    group.add_argument("--perceptual", type=Path, metavar="FILE", help=network)
    group.add_argument("--sync-weight", type=float, metavar="X", help=weight)
    steps = f"syncdiffusion: in how many steps (default {SYNC_STEPS})"
    group.add_argument("--sync-steps", type=int, metavar="N", help=steps)


def add_force(group: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--force: files may be there already."""
    group.add_argument("--force", action="store_true", help="replace existing files")


def add_telling(parser: argparse.ArgumentParser, quiet: str) -> None:
    """--json and --quiet; `quiet`: what is not printed then."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help=quiet)


@contextmanager
def stop_on_signal(say: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """A list that the first Ctrl-C or SIGTERM puts an item into, so that no step is cut in half; a second ends all.

    say: called at the first.
    """
    stopped: list[int] = []

    def handle(number: int, frame: object) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)
        say()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
