"""Which file format is meant by a name or an extension, and what it can hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from safa_stream.channels import LARGEST_CHANNELS
from safa_stream.errors import UsageError

#: A RIFF file's lengths have 32 bits; tags and headers need a little of it.
LARGEST_WAV = 2**32 - 2**20


@dataclass(frozen=True, slots=True)
class FileFormat:
    """libsndfile's names of a format. `sample_bytes` is 0 where samples are compressed; `lossy` ones overshoot."""

    name: str
    major: str
    subtype: str
    sample_bytes: int = 0
    lossy: bool = False
    largest: int = 0


#: Name: extensions, then a format for every choice of bits; the first one is the default.
_WAV = {
    "24": FileFormat("wav", "WAV", "PCM_24", 3, largest=LARGEST_WAV),
    "16": FileFormat("wav", "WAV", "PCM_16", 2, largest=LARGEST_WAV),
    "32f": FileFormat("wav", "WAV", "FLOAT", 4, largest=LARGEST_WAV),
}
_FLAC = {"24": FileFormat("flac", "FLAC", "PCM_24"), "16": FileFormat("flac", "FLAC", "PCM_16")}
FORMATS: dict[str, tuple[tuple[str, ...], dict[str, FileFormat]]] = {
    "wav": (("wav", "wave"), _WAV),
    "flac": (("flac",), _FLAC),
    "ogg": (("ogg", "oga"), {"": FileFormat("ogg", "OGG", "VORBIS", lossy=True)}),
    "opus": (("opus",), {"": FileFormat("opus", "OGG", "OPUS", lossy=True)}),
    "mp3": (("mp3",), {"": FileFormat("mp3", "MP3", "MPEG_LAYER_III", lossy=True)}),
}
BITS = ("16", "24", "32f")
#: Channels at most; of what is not named, 2.
_CHANNELS = {"wav": LARGEST_CHANNELS, "flac": 8}
_RATES = {
    "opus": (8000, 12000, 16000, 24000, 48000),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}


def choose(path: Path, name: str | None = None, bits: str | None = None) -> FileFormat:
    """The format of that name, else the one that the path's extension means. Raises UsageError for unknown ones."""
    known = ", ".join(FORMATS)
    if name is None:
        extension = path.suffix.lower().lstrip(".")
        name = next((name for name, (extensions, _) in FORMATS.items() if extension in extensions), None)
        if name is None:
            said = (
                f"the extension of {path.name!r} is not one of them" if extension else f"{path.name!r} has no extension"
            )
            raise UsageError(f"formats are {known}; {said}: choose one with --format")
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}: choose one of {known}")
    choices = FORMATS[name][1]
    if bits is not None and bits not in choices:
        able = ", ".join(choice for choice in choices if choice)
        raise UsageError(f"{name} files cannot be written with {bits} bits" + (f", only with {able}" if able else ""))
    chosen = choices[bits] if bits is not None else next(iter(choices.values()))
    if chosen.major not in soundfile.available_formats():
        raise UsageError(f"the installed libsndfile cannot write {name}; choose another format")
    return chosen


def check_rate(file_format: FileFormat, rate: int) -> None:
    """Raise UsageError where the format has no such sample rate."""
    rates = _RATES.get(file_format.name)
    if rates is not None and rate not in rates:
        raise UsageError(
            f"{file_format.name} files cannot have {rate} Hz; choose --rate from {', '.join(map(str, rates))}"
        )


def for_channels(file_format: FileFormat, channels: int) -> FileFormat:
    """The format for a file of so many channels: WAV files of more than 2 say which loudspeakers they are for.

    Raises UsageError where the format cannot hold them, or holds them in an order of its own.
    """
    if channels <= 2:
        return file_format
    most = _CHANNELS.get(file_format.name, 2)
    if channels > most:
        raise UsageError(
            f"{file_format.name} files are written with at most {most} channels, not {channels}: choose "
            f"{'wav' if channels > _CHANNELS['flac'] else 'wav or flac'}"
        )
    return replace(file_format, major="WAVEX") if file_format.major == "WAV" else file_format


def for_size(file_format: FileFormat, size: int) -> FileFormat:
    """The format for a file of `size` bytes of samples: WAV files beyond 4 GB become RF64, which has the same name."""
    if not file_format.largest or size <= file_format.largest:
        return file_format
    return replace(file_format, major="RF64", largest=0)
