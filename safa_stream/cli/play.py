"""Play a soundscape from words on this machine's sound device, until Ctrl-C or for a time.

The device sets the pace; when it goes away, playing waits for it and goes on. `safa-stream devices` lists devices.

examples:
  safa-stream play "rain on a tent, distant thunder:0.4"
  safa-stream play "forest birds at dawn" --duration 30:00 --seed 7
  safa-stream play "campfire" --device "usb audio" --record fire.flac
  safa-stream play --scene night.json --buffer 0.05 --latency 0.02
  safa-stream play "rain on a tent" --device jack --channel-map quad
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safa_stream.cli import making
from safa_stream.cli.values import clock, count, positive
from safa_stream.errors import OutputError, SceneError, UsageError

if TYPE_CHECKING:
    from safa_server.device import DeviceEvent
    from safa_server.player import Progress
    from safa_stream.models.interface import Model
    from safa_stream.rendering.output import SoundWriter
    from safa_stream.session.livescene import LiveScene
    from safa_stream.types import FloatArray

HELP = "a soundscape from words on the sound device"
TERMINAL_SECONDS, PLAIN_SECONDS = 0.2, 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    making.add_prompt(parser)
    making.add_duration(parser, None, ": until Ctrl-C")
    making.add_scene(parser, "play")
    making.add_model(parser)
    device = parser.add_argument_group("the device")
    device.add_argument("--device", metavar="NAME", help="number, name or words of it (default: the default device)")
    device.add_argument("--rate", type=count, metavar="HZ", help="its rate (default: the sound's, or the device's own)")
    device.add_argument("--channels", type=count, metavar="N",
                        help="its channels (default: the sound's); more than 2 are made, up to 16")  # fmt: skip
    device.add_argument("--channel-map", metavar="MAP",
                        help="quad, 5.1, 7.1, 7.1.4, ambix, or a list such as FL,FR,BL,BR or 3,4,-,1")  # fmt: skip
    device.add_argument("--buffer", type=positive, default=0.2, metavar="SECONDS",
                        help="sound kept between engine and device (default 0.2)")  # fmt: skip
    device.add_argument("--latency", type=positive, default=0.1, metavar="SECONDS",
                        help="what the device itself keeps (default 0.1)")  # fmt: skip
    parser.add_argument("--record", type=Path, metavar="FILE", help="also write what is played, .wav (32 bit) or .flac")
    making.add_force(parser)
    making.add_telling(parser, "no status line, no summary")


def run(options: argparse.Namespace) -> int:
    """Play as the options say."""
    from safa_server.device import DeviceRequest
    from safa_server.player import Listeners, PlayRequest, play
    from safa_stream.models import load

    if options.duration == 0:
        raise UsageError("--duration must be above 0")
    scene = _scene(options)
    device = DeviceRequest(
        options.device, options.rate, options.channels, options.buffer, options.latency, options.channel_map
    )
    model = load(scene.model, options.backend)
    making.say_licence(scene.model, model.facts, options.quiet)
    screen = _Screen(options.quiet)
    _say_unknown(model, scene, screen)
    with ExitStack() as stack:
        recording = None
        if options.record is not None:
            recording = _Recording(stack.enter_context(_writer(options, scene, model)), screen)
        stopped = stack.enter_context(making.stop_on_signal())
        ended = play(
            model,
            PlayRequest(scene.as_dict(), device, options.duration),
            Listeners(
                take=recording or _ignore,
                progress=screen.progress,
                device=screen.device,
                stop=lambda: bool(stopped),
            ),
        )
        screen.end()
        if recording is not None:
            recording.finish()
    _report(ended, None if recording is None else recording.file, options)
    return making.INTERRUPTED if stopped and options.duration is not None else 0


class _Screen:
    """One status line on standard error: rewritten on a terminal, printed now and then elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic() if not self._terminal else 0.0
        self._width = 0

    def progress(self, progress: Progress) -> None:
        """Show how it stands."""
        now = time.monotonic()
        if self.quiet or now - self._last < (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS):
            return
        self._last, line = now, _line(progress)
        if self._terminal:
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def device(self, event: DeviceEvent) -> None:
        """Tell what happened to the device; what is wrong also when quiet."""
        if not self.quiet or event.name in ("lost", "back"):
            self.say(event.text)

    def say(self, text: str) -> None:
        """A line of its own."""
        self.end()
        print(f"safa-stream: {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line of a terminal."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0


class _Recording:
    """Writes what leaves the session. A full disk ends the recording, not the sound."""

    def __init__(self, writer: SoundWriter, screen: _Screen) -> None:
        self.file: str | None = None
        self._writer: SoundWriter | None = writer
        self._screen = screen

    def __call__(self, samples: FloatArray) -> None:
        if self._writer is None:
            return
        try:
            self._writer.write(samples)
        except OutputError as error:
            self._writer = None
            self._screen.say(f"no longer recording: {error}")

    def finish(self) -> None:
        """Give the file its name, where anything was played."""
        if self._writer is not None and self._writer.frames:
            self._writer.finish()
            self.file = str(self._writer.path)


def _ignore(samples: FloatArray) -> None:
    """Nobody records."""


def _writer(options: argparse.Namespace, scene: LiveScene, model: Model) -> SoundWriter:
    from safa_stream import __version__
    from safa_stream.rendering import formats
    from safa_stream.rendering.metadata import Tags
    from safa_stream.rendering.output import SoundWriter
    from safa_stream.scene import format_prompts

    chosen = formats.choose(options.record)
    if chosen.name == "wav":
        chosen = formats.choose(options.record, None, "32f")
    title = ", ".join(format_prompts(layer.prompts) for layer in scene.layers)
    tags = Tags(title, f"safa-stream {__version__}", json.dumps(scene.as_dict()))
    rate = model.facts.sample_rate
    return SoundWriter(options.record, chosen, rate, scene.channels, options.duration or 0.0, tags, options.force)


def _scene(options: argparse.Namespace) -> LiveScene:
    """The scene that the options describe. Raises UsageError where they name none, or two."""
    from safa_stream.session.livescene import LiveScene

    if (options.prompt is None) == (options.scene is None):
        raise UsageError('say what is to be heard: safa-stream play "rain on a tent", or --scene FILE')
    scene = LiveScene.from_value(options.prompt if options.scene is None else _read(options.scene))
    if options.model is not None:
        scene = replace(scene, model=options.model)
    if options.seed is not None:
        scene = replace(scene, layers=tuple(replace(layer, seed=options.seed) for layer in scene.layers))
    return replace(scene, channels=max(scene.channels, _channels(options)))


def _channels(options: argparse.Namespace) -> int:
    """Channels that the device asks for. Raises UsageError for a channel map that cannot be."""
    from safa_stream.channels import LARGEST_CHANNELS, channel_map

    if options.channel_map is not None:
        return channel_map(options.channel_map).channels
    return min(options.channels or 0, LARGEST_CHANNELS)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SceneError(f"{path}: the scene is not text in UTF-8") from None
    except ValueError as error:
        raise SceneError(f"{path}: the scene is not JSON: {error}") from None


def _say_unknown(model: Model, scene: LiveScene, screen: _Screen) -> None:
    told = [model.encode(layer.prompts, layer.negative, layer.seed).unknown_words for layer in scene.layers]
    unknown = list(dict.fromkeys(word for words in told for word in words))
    if unknown:
        screen.say(f"these words mean nothing to the model: {', '.join(unknown)}")


def _line(progress: Progress) -> str:
    device = progress.device
    behind = device.buffered + (device.latency or 0.0)
    state = f"{1000 * behind:.0f} ms to the ear" if device.open else "device away"
    return (
        f"{clock(progress.seconds)}  lead {progress.lead:.1f} s  {device.underruns} underruns  "
        f"{progress.real_time_factor:.1f} x real time  {state}"
    )


def _report(ended: Progress, recorded: str | None, options: argparse.Namespace) -> None:
    if options.json:
        result = {
            "seconds": ended.seconds,
            "real_time_factor": ended.real_time_factor,
            **ended.device.as_dict(),
            "recorded": recorded,
        }
        print(json.dumps(result, ensure_ascii=False))
    elif not options.quiet:
        late = f"{ended.device.underruns} underruns" + (
            f" ({ended.device.missing:.2f} s of silence)" if ended.device.underruns else ""
        )
        print(f"{ended.device.device}: {clock(ended.seconds)} played, {late}")
        if recorded is not None:
            print(f"{recorded}: what was played")
