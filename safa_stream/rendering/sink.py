"""Where rendered sound goes: a file or memory, and a picture beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from safa_stream import __version__
from safa_stream.channels import ChannelMap, channel_map
from safa_stream.models.interface import ModelFacts
from safa_stream.rendering import conversion, formats, leveller, spectrogram
from safa_stream.rendering.metadata import Origin, tags
from safa_stream.rendering.output import SoundWriter, write_file
from safa_stream.scene import Scene, format_prompts
from safa_stream.types import FloatArray

LOUDNESS = -23.0
CEILING = -1.0
#: Decoders of lossy formats bring peaks up again by about this much, in dB.
LOSSY_OVERSHOOT = 1.0


@dataclass(frozen=True, slots=True)
class Output:
    """What is written and how. None: the model's own rate and channels; the format by the path's extension.

    channels: more than the model has are made, see `models.grouped`; channel_map: where they go, as
    `channels.channel_map` reads it, which then says how many there are (of ambisonics: channels, the sources). lufs:
    integrated loudness to level to, -60 to -5 LUFS, None to leave it alone. bits: "16", "24" or "32f".
    """

    path: Path | None = None
    rate: int | None = None
    channels: int | None = None
    channel_map: str | None = None
    file_format: str | None = None
    bits: str | None = None
    lufs: float | None = LOUDNESS
    spectrogram: Path | None = None
    force: bool = False

    @property
    def mapping(self) -> ChannelMap | None:
        """The channel map, None where there is none. Raises UsageError."""
        return None if self.channel_map is None else channel_map(self.channel_map, self.channels)

    def sources(self, own: int) -> int:
        """Channels that a model which has `own` is to make."""
        mapping = self.mapping
        wanted = own if self.channels is None else self.channels
        return mapping.channels if mapping is not None else wanted if wanted > 2 else own


class Sink:
    """Takes levelled samples. Use it with `with`: leaving the block without `finish` leaves no file."""

    def __init__(
        self, scene: Scene, seconds: float, output: Output, facts: ModelFacts, distance: str | None = None
    ) -> None:
        self.rate = facts.sample_rate if output.rate is None else output.rate
        self._map = output.mapping
        usual = min(facts.channels, 2) if output.channels is None else output.channels
        self.channels = usual if self._map is None else self._map.outputs
        conversion.check(self.rate, self.channels)
        self.frames = 0
        self.writer: SoundWriter | None = None
        self._output, self._parts = output, list[FloatArray]()
        self._title = format_prompts(scene.prompts)
        self._canvas = None if output.spectrogram is None else spectrogram.canvas(self.rate, seconds)
        self._painting = spectrogram.begin(self.channels)
        ceiling = CEILING
        if output.path is not None:
            chosen = formats.choose(output.path, output.file_format, output.bits)
            formats.check_rate(chosen, self.rate)
            ceiling -= LOSSY_OVERSHOOT if chosen.lossy else 0.0
            origin = Origin(
                scene,
                seconds,
                output.lufs,
                self.rate,
                self.channels,
                facts.name,
                facts.version,
                __version__,
                facts.licence,
                distance,
                None if self._map is None else self._map.spec,
                None if self._map is None else self._map.channels,
            )
            mask = 0 if self._map is None else self._map.mask
            self.writer = SoundWriter(
                output.path, chosen, self.rate, self.channels, seconds, tags(origin), output.force, mask
            )
        weights = None if self._map is None else self._map.weights
        self.levelling = leveller.levelling(self.rate, self.channels, output.lufs, ceiling, weights=weights)

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            self.writer.abandon()

    def placed(self, samples: FloatArray) -> FloatArray:
        """The model's sound [c, N] as the channels [channels, N] that are written."""
        return conversion.with_channels(samples, self.channels) if self._map is None else self._map.apply(samples)

    def write(self, samples: FloatArray) -> None:
        """Take the next samples [channels, N]."""
        self.frames += samples.shape[1]
        if self.writer is not None:
            self.writer.write(samples)
        else:
            self._parts.append(samples)
        if self._canvas is not None:
            self._painting = spectrogram.paint(self._canvas, self._painting, samples)

    def finish(self) -> None:
        """Give the file its name and write the picture; without a single sample nothing is written."""
        if self.frames == 0:
            return
        if self.writer is not None:
            self.writer.finish()
        if self._canvas is not None and self._output.spectrogram is not None:
            painting = spectrogram.paint(self._canvas, self._painting, conversion.silence(self.channels), last=True)
            data = spectrogram.picture(self._canvas, painting, {"Title": self._title})
            write_file(self._output.spectrogram, data, self._output.force)

    def written(self, path: Path | None) -> str | None:
        """The path as text, None where nothing was written."""
        return None if path is None or self.frames == 0 else str(path)

    def samples(self) -> FloatArray | None:
        """All samples [channels, N] where no file was asked for."""
        if self.writer is not None:
            return None
        return np.concatenate([conversion.silence(self.channels), *self._parts], axis=1)
