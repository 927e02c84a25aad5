"""Write a sound file piece by piece under a temporary name; only a finished file gets the name that was asked for."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile

from safa_stream.errors import OutputError
from safa_stream.rendering.formats import FileFormat, for_channels, for_size
from safa_stream.rendering.metadata import Tags
from safa_stream.types import FloatArray

#: libsndfile's compressed writers keep a piece on the stack.
PIECE = 4096
#: The format tag of WAVE files that say which loudspeakers they are for.
_EXTENSIBLE = 0xFFFE


def check_target(path: Path, force: bool) -> Path:
    """The path that will be written, links followed. Raises OutputError where no file can or may be put there."""
    try:
        target = path.resolve()
        if target.is_dir():
            raise OutputError(f"{path} is a folder: give the file a name")
        if not target.parent.is_dir():
            raise OutputError(f"{path}: the folder {target.parent} does not exist")
        if target.exists():
            if not target.is_file():
                raise OutputError(f"{path} is not a regular file")
            if not force:
                raise OutputError(f"{path} exists already: use --force to replace it, or another name")
    except (OSError, RuntimeError, ValueError) as error:
        raise OutputError(f"{path!s:.200}: cannot be written: {reason(error)}") from None
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {target.parent} is not writable")
    return target


def partial_name(target: Path) -> Path:
    """Where a file is written before it is finished: hidden, in the same folder."""
    return target.with_name(f".{target.name[:200]}.{os.getpid()}.part")


def write_file(path: Path, data: bytes, force: bool) -> None:
    """Write a small file as a whole or not at all."""
    target = check_target(path, force)
    partial = partial_name(target)
    try:
        partial.write_bytes(data)
        os.replace(partial, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: writing failed: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """An error's own words, without what Python puts around them."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error).rstrip(": ")


class SoundWriter:
    """A sound file that is being written. Use it with `with`: leaving the block without `finish` removes the file.

    seconds: how long it will be, for formats with a largest size and for the room on the disk. mask: which loudspeakers
    more than 2 channels of a WAV file are for (WAVE_FORMAT_EXTENSIBLE), 0: not said.
    """

    def __init__(
        self,
        path: Path,
        file_format: FileFormat,
        rate: int,
        channels: int,
        seconds: float,
        tags: Tags,
        force: bool = False,
        mask: int = 0,
    ) -> None:
        self.path, self.rate, self.channels = path, rate, channels
        self.frames, self._mask = 0, mask
        self._target = check_target(path, force)
        self._partial = partial_name(self._target)
        size = round(seconds * rate) * channels * file_format.sample_bytes
        self._check_room(size)
        self.file_format = for_size(for_channels(file_format, channels), size)
        self._dither = np.random.Generator(np.random.Philox(key=1)) if file_format.subtype == "PCM_16" else None
        with self._failures("cannot be written"):
            self._file = soundfile.SoundFile(
                self._partial, "w", rate, channels, self.file_format.subtype, format=self.file_format.major
            )
        try:
            with self._failures("cannot take its tags"):
                self._file.title, self._file.software, self._file.comment = tags.title, tags.software, tags.comment
        except OutputError:
            self.abandon()
            raise

    def __enter__(self) -> SoundWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def write(self, samples: FloatArray) -> None:
        """Append samples [channels, N]. Raises OutputError where the disk is full."""
        frames = np.ascontiguousarray(samples.T)
        if self._dither is not None:
            # Triangular noise of one step: rounding to 16 bits becomes a hiss at -98 dB instead of distortion.
            drawn = self._dither.random((len(frames), self.channels, 2), np.float32)
            frames = frames + (drawn[..., 0] - drawn[..., 1]) / np.float32(32768)
        with self._failures("writing failed"):
            for start in range(0, len(frames), PIECE):
                self._file.write(frames[start : start + PIECE])
        self.frames += len(frames)

    def finish(self) -> None:
        """Close the file, make sure that all of it is there, and give it its name."""
        with self._failures("writing failed"):
            self._file.close()
            if self.channels > 2 and self.file_format.major in ("WAVEX", "RF64"):
                _set_mask(self._partial, self._mask)
            found = soundfile.info(str(self._partial)).frames
        # Encoders pad to whole packets, so compressed files may be a little longer.
        if found < self.frames or (found > self.frames and not self.file_format.lossy):
            self.abandon()
            raise OutputError(f"{self.path}: only {found} of {self.frames} frames were written; is the disk full?")
        try:
            os.replace(self._partial, self._target)
        except OSError as error:
            self.abandon()
            raise OutputError(f"{self.path}: cannot be written: {reason(error)}") from None

    def abandon(self) -> None:
        """Close and remove what is unfinished; a finished file stays."""
        with contextlib.suppress(Exception):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self._target.parent).free
        if size > free:
            raise OutputError(
                f"{self.path}: {_gigabytes(size)} are needed and {_gigabytes(free)} are free; "
                "flac takes about half, ogg and opus a tenth"
            )

    @contextlib.contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        # soundfile checks with an assertion that all frames were taken.
        except (soundfile.SoundFileError, OSError, RuntimeError, AssertionError) as error:
            self._after_failure()
            said = reason(error) or "not all of it was taken; is the disk full?"
            raise OutputError(f"{self.path}: {what}: {said}") from None

    def _after_failure(self) -> None:
        if hasattr(self, "_file"):
            self.abandon()


def _set_mask(path: Path, mask: int) -> None:
    """Write dwChannelMask into a WAVE file's format chunk: libsndfile sets what it thinks usual for that many."""
    with path.open("r+b") as stream:
        stream.seek(12)
        while len(header := stream.read(8)) == 8:
            name, size = header[:4], struct.unpack("<I", header[4:])[0]
            if name == b"fmt ":
                if struct.unpack("<H", stream.read(2))[0] == _EXTENSIBLE:
                    stream.seek(18, os.SEEK_CUR)
                    stream.write(struct.pack("<I", mask))
                return
            stream.seek(size + size % 2, os.SEEK_CUR)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
