"""`render`: a scene to a finished sound file (or samples), piece by piece, whatever its length.

engine ─► channels, rate ─► leveller (loudness, true peak) ─► file, spectrogram
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safa_stream.errors import OutputError, UsageError
from safa_stream.layout import ViewLayout
from safa_stream.models import load
from safa_stream.models.grouped import grouped
from safa_stream.models.interface import Model, ModelFacts
from safa_stream.rendering import conversion, formats, leveller
from safa_stream.rendering.meter import Meter
from safa_stream.rendering.output import check_target
from safa_stream.rendering.sink import LOUDNESS, Output, Sink
from safa_stream.rendering.source import Progress, Source
from safa_stream.scene import SYNC, Scene, format_prompts
from safa_stream.types import FloatArray

LOWEST_LOUDNESS, HIGHEST_LOUDNESS = -60.0, -5.0
#: A joint canvas is in memory as a whole.
LONGEST_JOINT = 1800.0


@dataclass(frozen=True, slots=True, eq=False)
class RenderResult:
    """What was made. `samples` [channels, N] are there if no file was asked for; `file` is None if none was written.

    distance: by which method syncdiffusion compared views.
    """

    file: str | None
    seconds: float
    sample_rate: int
    channels: int
    prompts: str
    seed: int
    model: str
    mode: str
    method: str
    steps: int
    guidance: float
    real_time_factor: float
    hop_seconds: float
    overlap_seconds: float
    distance: str | None
    unknown_words: tuple[str, ...]
    loudness_lufs: float | None
    true_peak_dbtp: float | None
    channel_map: str | None = None
    interrupted: bool = False
    spectrogram: str | None = None
    file_format: str | None = None
    samples: FloatArray | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the samples, for JSON."""
        return {name: value for name, value in asdict(replace(self, samples=None)).items() if name != "samples"}


def render(
    scene: Scene | str,
    seconds: float,
    out: str | os.PathLike[str] | None = None,
    *,
    model: Model | None = None,
    backend: str = "auto",
    rate: int | None = None,
    channels: int | None = None,
    channel_map: str | None = None,
    file_format: str | None = None,
    bits: str | None = None,
    lufs: float | None = LOUDNESS,
    spectrogram: str | os.PathLike[str] | None = None,
    force: bool = False,
    perceptual: str | os.PathLike[str] | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    loaded: Callable[[ModelFacts], None] | None = None,
) -> RenderResult:
    """Render a scene, or a prompt line with the default settings, to the file `out`, or to samples in memory.

    `model` is loaded by the scene's name of it where it is not given, and `loaded` is told what it is. `report` is told
    of progress; `stop` is asked between pieces, and when it says True (or on KeyboardInterrupt while sound is made)
    what is finished becomes a valid file. channels: 1 and 2 are converted to; more are made, in groups of the model's
    own (`models.grouped`); channel_map: where they go (`channels.channel_map`). perceptual: the file of the network by
    which method syncdiffusion compares views. After any error there is no file, or the one that was there before.
    Raises UsageError for what cannot be made, ModelError, and OutputError for what cannot be written.
    """
    scene = Scene.from_prompt(scene) if isinstance(scene, str) else scene
    target = None if out is None else Path(out)
    picture = None if spectrogram is None else Path(spectrogram)
    output = Output(target, rate, channels, channel_map, file_format, bits, lufs, picture, force)
    check(scene, seconds, output)
    if perceptual is not None and scene.method != SYNC:
        raise UsageError(f"a network that compares views is for method {SYNC}, not for {scene.method}")
    chosen = model or load(scene.model, backend)
    if loaded is not None:
        loaded(chosen.facts)
    return _render(scene, seconds, output, chosen, report, stop, None if perceptual is None else Path(perceptual))


def check(scene: Scene, seconds: float, output: Output) -> None:
    """All that can be told to be wrong without the model. Raises UsageError or OutputError."""
    if not math.isfinite(seconds) or seconds <= 0:
        raise UsageError(f"the duration must be a number of seconds above 0, not {seconds}")
    if scene.mode == "joint" and seconds > LONGEST_JOINT:
        raise UsageError(f"mode joint keeps all in memory: use at most {LONGEST_JOINT:g} s, or mode stream")
    late = [change.at for change in scene.changes if change.at >= seconds]
    if late:
        raise UsageError(f"the prompt change at {late[0]:g} s is after the end at {seconds:g} s")
    if output.lufs is not None and not LOWEST_LOUDNESS <= output.lufs <= HIGHEST_LOUDNESS:
        raise UsageError(
            f"the loudness must be from {LOWEST_LOUDNESS:g} to {HIGHEST_LOUDNESS:g} LUFS or off, not {output.lufs}"
        )
    conversion.check(output.rate, output.channels)
    mapping = output.mapping
    if output.path is not None:
        chosen = formats.choose(output.path, output.file_format, output.bits)
        formats.for_channels(chosen, mapping.outputs if mapping is not None else output.channels or 1)
        if output.rate is not None:
            formats.check_rate(chosen, output.rate)
        check_target(output.path, output.force)
    if output.spectrogram is not None:
        check_target(output.spectrogram, output.force)
        if output.path is not None and output.spectrogram.resolve() == output.path.resolve():
            raise OutputError(f"{output.path} cannot be the sound and its spectrogram at once")


def _render(
    scene: Scene,
    seconds: float,
    output: Output,
    model: Model,
    report: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
    perceptual: Path | None,
) -> RenderResult:
    model = grouped(model, output.sources(model.facts.channels))
    facts = model.facts
    likeness = model.likeness(perceptual) if scene.method == SYNC else None
    scene = replace(
        scene,
        steps=facts.default_steps if scene.steps is None else scene.steps,
        guidance=facts.default_guidance if scene.guidance is None else scene.guidance,
        overlap=facts.default_overlap if scene.overlap is None else scene.overlap,
    )
    layout = ViewLayout.from_ratio(facts.view_frames, scene.overlap or 0.0, facts.frame_alignment)
    distance = None if likeness is None else likeness.name
    with Sink(scene, seconds, output, model.facts, distance) as sink:
        source = Source(model, scene, seconds, report, stop, likeness)
        meter = _level_loop(source, sink) if scene.loop else _level_stream(source, sink)
        sink.finish()
        elapsed = source.elapsed
    made = sink.frames / sink.rate
    return RenderResult(
        file=sink.written(output.path),
        seconds=made,
        sample_rate=sink.rate,
        channels=sink.channels,
        prompts=format_prompts(scene.prompts),
        seed=scene.seed,
        model=facts.name,
        mode=scene.mode,
        method=scene.method,
        steps=scene.steps or 0,
        guidance=scene.guidance or 0.0,
        real_time_factor=made / elapsed if elapsed > 0 else 0.0,
        hop_seconds=layout.hop / facts.frames_per_second,
        overlap_seconds=layout.overlap / facts.frames_per_second,
        distance=distance,
        unknown_words=source.unknown_words,
        loudness_lufs=_finite(meter.loudness),
        true_peak_dbtp=_finite(meter.true_peak),
        channel_map=output.channel_map,
        interrupted=source.interrupted,
        spectrogram=sink.written(output.spectrogram),
        file_format=None if sink.writer is None else sink.writer.file_format.major,
        samples=sink.samples(),
    )


def _level_stream(source: Source, sink: Sink) -> Meter:
    levelling, rate = sink.levelling, source.model.facts.sample_rate
    resampler = conversion.Resampler(rate, sink.rate, sink.channels)
    state = leveller.begin(levelling)
    empty = conversion.silence(sink.channels)
    for piece in source.pieces():
        converted = resampler.push(sink.placed(piece))
        state, ready = leveller.push(levelling, state, converted)
        sink.write(ready)
    state, ready = leveller.push(levelling, state, resampler.push(empty, last=True))
    sink.write(ready)
    state, ready = leveller.finish(levelling, state)
    sink.write(ready)
    return state.meter


def _level_loop(source: Source, sink: Sink) -> Meter:
    canvas = source.canvas()
    if canvas is None:
        return leveller.begin(sink.levelling).meter
    converted = conversion.resample_loop(sink.placed(canvas), source.model.facts.sample_rate, sink.rate)
    samples, meter = leveller.level_loop(sink.levelling, converted)
    sink.write(samples)
    return meter


def _finite(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
