"""Render a soundscape from words to a sound file.

A prompt is one or more descriptions, each with an optional weight: "rain on a tent, distant thunder:0.4".
Ctrl-C leaves a playable file of what was finished. Memory stays the same whatever the duration.

examples:
  safa-stream render "rain on a tent, distant thunder:0.4" --duration 60 --out tent.wav --spectrogram tent.png
  safa-stream render "forest birds at dawn" --negative "wind" --seed 7 --out dawn.flac
  safa-stream render "campfire" --loop --duration 40 --out fire.ogg
  safa-stream render "crickets" --at 1:00 "frogs by a pond" --at 2:00 "light rain" --duration 3:00 --out night.flac
  safa-stream render "hot spring, wind:0.3" --save-scene spring.json --out spring.flac
  safa-stream render --scene spring.json --duration 1:00:00 --out spring-hour.flac
  safa-stream render --batch jobs.jsonl --out sounds --duration 60
  safa-stream render --batch jobs.jsonl --out /shared/sounds --cluster auto
  safa-stream render "rain on a tent" --channel-map 5.1 --out tent.wav
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safa_stream.cli import making, render_batch
from safa_stream.cli.progress import ProgressLine
from safa_stream.cli.values import clock, duration, loudness
from safa_stream.errors import SceneError, UsageError
from safa_stream.scene import JOINT_METHODS, MODES, PromptChange, Scene, parse_prompts

if TYPE_CHECKING:
    from safa_stream.rendering.render import RenderResult

HELP = "a soundscape from words to a file"
DEFAULT_MORPH = 8.0
#: Options that are fields of a scene of the same name and type.
FIELDS = (
    "seed", "steps", "guidance", "overlap", "swap_interval", "reference_ratio", "method", "mode", "model",
    "attend_ratio", "sync_weight", "sync_steps",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options. None means: not said, so a scene file's or the model's own value holds."""
    making.add_prompt(parser)
    making.add_duration(parser, 30.0, " 30 s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="sound file (default: named after the prompt, .wav)")
    words = parser.add_argument_group("what is heard")
    words.add_argument("--negative", metavar="PROMPT", help="what is not to be heard")
    words.add_argument("--at", nargs=2, action="append", metavar=("TIME", "PROMPT"),
                       help="another prompt from this time on; repeatable")  # fmt: skip
    words.add_argument("--morph", type=duration, metavar="TIME",
                       help=f"how long the change at each --at takes (default {DEFAULT_MORPH:g} s)")  # fmt: skip
    making.add_scene(words, "begin with")
    words.add_argument("--save-scene", type=Path, metavar="FILE", help="save the scene as JSON")
    method = parser.add_argument_group("how it is made")
    making.add_model(method)
    method.add_argument("--mode", choices=MODES, help="stream: view after view; joint: all views at once, up to 30 min")
    method.add_argument("--loop", action="store_true", default=None,
                        help="a file that repeats without a seam (makes the mode joint)")  # fmt: skip
    joined = "how views are joined (default safa); mad and syncdiffusion: --mode joint, on torch"
    method.add_argument("--method", choices=JOINT_METHODS, help=joined)
    method.add_argument("--steps", type=int, metavar="N", help="sampler steps a view")
    method.add_argument("--guidance", type=float, metavar="X", help="how closely the words are followed")
    method.add_argument(
        "--overlap", type=float, metavar="SHARE", help="share of a view that it has in common with the next"
    )
    method.add_argument(
        "--swap-interval", type=int, metavar="FRAMES", help="frames that are swapped together (default 1)"
    )
    method.add_argument("--reference-ratio", type=float, metavar="SHARE",
                        help="share of the steps that the reference guides (default 0.3)")  # fmt: skip
    making.add_coupling(method, " (default: log-mel statistics)")
    file = parser.add_argument_group("the file")
    file.add_argument("--format", metavar="NAME", help="wav, flac, ogg, opus or mp3 (default: by the extension)")
    file.add_argument(
        "--bits", "--subtype", metavar="BITS", help="16, 24 or 32f for wav, 16 or 24 for flac (default 24)"
    )
    file.add_argument("--rate", type=int, metavar="HZ", help="sample rate (default: the model's)")
    file.add_argument("--channels", type=int, metavar="N",
                      help="1 or 2 (default: the model's), or up to 16 that are made beside each other")  # fmt: skip
    file.add_argument("--channel-map", metavar="MAP",
                      help="quad, 5.1, 7.1, 7.1.4, ambix, or a list such as FL,FR,BL,BR or 3,4,-,1")  # fmt: skip
    file.add_argument("--lufs", type=loudness, default=-23.0, metavar="LUFS",
                      help="integrated loudness, or off (default -23); true peaks stay below -1 dBTP")  # fmt: skip
    file.add_argument("--spectrogram", type=Path, metavar="FILE", help="a picture of the sound as PNG")
    making.add_force(file)
    render_batch.add_arguments(parser)
    making.add_telling(parser, "no progress, no summary")


def run(options: argparse.Namespace) -> int:
    """Render as the options say."""
    if options.batch is not None:
        return render_batch.run(options)
    if options.workers is not None:
        raise UsageError("--workers is for --batch")
    if options.cluster is not None:
        raise UsageError("--cluster is for --batch")
    scene = scene_of(options)
    out = options.out or Path(_file_name(scene) + "." + (options.format or "wav"))
    from safa_stream.rendering.output import check_target, write_file
    from safa_stream.rendering.render import render

    if options.save_scene is not None:
        check_target(options.save_scene, options.force)
    progress = ProgressLine(options.quiet)
    with making.stop_on_signal(_say_stopping) as stopped:
        result = render(
            scene,
            options.duration,
            out,
            backend=options.backend,
            rate=options.rate,
            channels=options.channels,
            channel_map=options.channel_map,
            file_format=options.format,
            bits=_bits(options.bits),
            lufs=options.lufs,
            spectrogram=options.spectrogram,
            force=options.force,
            perceptual=options.perceptual,
            report=progress,
            stop=lambda: bool(stopped),
            loaded=lambda facts: making.say_licence(scene.model, facts, options.quiet),
        )
    progress.end()
    if options.save_scene is not None:
        write_file(options.save_scene, (scene.to_json() + "\n").encode(), options.force)
    _report(result, options)
    return making.INTERRUPTED if result.interrupted else 0


def scene_of(options: argparse.Namespace) -> Scene:
    """The scene that the options describe, on top of a scene file's. Raises UsageError where they contradict."""
    settings: dict[str, Any] = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    if options.prompt is not None:
        settings["prompts"] = parse_prompts(options.prompt)
    if options.negative is not None:
        settings["negative"] = parse_prompts(options.negative)
    if options.morph is not None and not options.at:
        raise UsageError("--morph needs --at: it is how long a change of the prompt takes")
    if options.at:
        settings["changes"] = _changes(options)
    if options.loop:
        settings |= {"loop": True, "mode": options.mode or "joint"}
    if options.scene is not None:
        return replace(_read_scene(options.scene), **settings)
    if "prompts" not in settings:
        raise UsageError('say what is to be heard: safa-stream render "rain on a tent", or --scene FILE')
    return Scene(**settings)


def _changes(options: argparse.Namespace) -> tuple[PromptChange, ...]:
    changes = []
    for time, prompt in options.at:
        try:
            at = duration(time)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"--at: {error}") from None
        changes.append(
            PromptChange(at, parse_prompts(prompt), DEFAULT_MORPH if options.morph is None else options.morph)
        )
    return tuple(sorted(changes, key=lambda change: change.at))


def _read_scene(path: Path) -> Scene:
    try:
        return Scene.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SceneError(f"{path}: the scene is not text in UTF-8") from None
    except UsageError as error:
        raise type(error)(f"{path}: {error}") from None


def _file_name(scene: Scene) -> str:
    """The first prompt as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", scene.prompts[0].text.lower()).strip("-")[:60] or "soundscape"


def _bits(text: str | None) -> str | None:
    """Also libsndfile's names: PCM_16, PCM_24, FLOAT."""
    if text is None:
        return None
    plain = text.lower().removeprefix("pcm_")
    return "32f" if plain in ("float", "32", "f32") else plain


def _say_stopping() -> None:
    print("\nsafa-stream: finishing what is made; Ctrl-C again to give up", file=sys.stderr)


def _report(result: RenderResult, options: argparse.Namespace) -> None:
    if result.interrupted:
        kept = (
            f"{result.file} holds the first {clock(result.seconds)}" if result.file else "nothing was finished, no file"
        )
        print(f"safa-stream: interrupted: {kept}", file=sys.stderr)
    if options.json:
        print(json.dumps(result.as_dict()))
    elif not options.quiet and result.file is not None:
        print(_summary(result))


def _summary(result: RenderResult) -> str:
    level = "silent" if result.loudness_lufs is None else f"{result.loudness_lufs:.1f} LUFS"
    peak = "" if result.true_peak_dbtp is None else f", true peak {result.true_peak_dbtp:.1f} dBTP"
    layout = {1: "mono", 2: "stereo"}.get(result.channels, f"{result.channels} channels")
    layout += "" if result.channel_map is None else f" ({result.channel_map})"
    lines = [
        f"{result.file}: {clock(result.seconds)} of {result.sample_rate / 1000:g} kHz {layout}, {level}{peak}, "
        f"seed {result.seed}, {result.real_time_factor:.1f} x real time"
    ]
    if result.file_format == "RF64":
        lines.append("beyond 4 GB it is an RF64 file (a WAV file with 64-bit lengths), which older players do not know")
    if result.spectrogram is not None:
        lines.append(f"{result.spectrogram}: its spectrogram")
    return "\n".join(lines)
