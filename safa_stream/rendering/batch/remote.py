"""A worker of a cluster: one process, which makes one job after the other and keeps files until they are fetched.

Where the batch's folder is shared it writes there. Else files stay in a folder of its own, and whoever asked for them
reads them piece by piece: however long a file is, little of it is in memory or in the cluster's object store at once.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from safa_stream.errors import SafaError
from safa_stream.rendering.batch.jobs import Job
from safa_stream.rendering.batch.ledger import Entry
from safa_stream.rendering.batch.shared import ABANDONED, Probe, shared
from safa_stream.rendering.batch.workers import make
from safa_stream.rendering.source import Progress

#: Bytes of a file that are sent at once.
PIECE = 4 << 20
#: Folders of workers' own; one that nobody writes into for ABANDONED seconds belongs to a worker that was killed.
PREFIX = "safa-batch-"


@dataclass(frozen=True, slots=True)
class Begun:
    """A worker that is there. node: its machine's name; shares: whether it writes into the batch's folder itself."""

    node: str
    process: int
    shares: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """How a job ended. files: names and sizes in bytes of what waits to be fetched, none where that is not needed."""

    entry: Entry
    files: tuple[tuple[str, int], ...] = ()


class Renderer:
    """The worker. `make` runs by itself; all else may be called meanwhile, from another thread."""

    def __init__(self, probe: Probe) -> None:
        self._ended = False
        self._own = None if shared(probe) else _folder_of_its_own()
        self._folder = probe.folder if self._own is None else Path(self._own.name)

    def begin(self) -> Begun:
        """Say where it is."""
        return Begun(platform.node(), os.getpid(), self._own is None)

    def make(self, job: Job, backend: str) -> Finished:
        """Make a job's files; what cannot be made is an entry with the reason and the node."""
        entry = make(job, self._folder, backend, self._heard)
        if entry.error is not None:
            return Finished(replace(entry, error=f"{entry.error} (node {platform.node()})"))
        if self._own is None:
            return Finished(entry)
        output = job.output(self._folder)
        paths = [path for path in (output.spectrogram, output.path) if path is not None]
        return Finished(entry, tuple((str(path.relative_to(self._folder)), path.stat().st_size) for path in paths))

    def piece(self, name: str, start: int) -> bytes:
        """Up to PIECE bytes of a file that waits, from `start` on."""
        with (self._folder / name).open("rb") as file:
            file.seek(start)
            return file.read(PIECE)

    def drop(self, names: tuple[str, ...]) -> None:
        """Files that were fetched, or that nobody will fetch, go."""
        if self._own is not None:
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

    def alive(self) -> None:
        """Answer, which a process that hangs does not."""

    def end(self) -> None:
        """Leave the job of the moment, of whose file nothing stays."""
        self._ended = True

    def clear(self) -> None:
        """Remove the folder of its own, after the last job."""
        if self._own is not None:
            self._own.cleanup()

    def _heard(self, progress: Progress) -> None:
        if self._ended:
            raise SafaError("ended")


def _folder_of_its_own() -> tempfile.TemporaryDirectory[str]:
    """A new one; those that workers of earlier days left because they were killed go."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            if time.time() - newest > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=PREFIX)
