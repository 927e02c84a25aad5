"""Files of a job brought here from the worker that made them, piece by piece; each is complete or absent."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safa_stream.errors import OutputError
from safa_stream.rendering.batch.remote import Finished
from safa_stream.rendering.batch.workers import sweep
from safa_stream.rendering.output import check_target, partial_name, reason


def fetch(made: Finished, folder: Path, piece: Callable[[str, int], bytes]) -> None:
    """Write the files of a finished job into the batch's folder. piece: of a file by its name, from a byte on.

    Raises OutputError where a file cannot be written or is not all there; what `piece` raises goes through. Either way
    nothing half is left.
    """
    for name, size in made.files:
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, size, lambda start, name=name: piece(name, start))  # type: ignore[misc]
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {reason(error)}") from None


def _write(path: Path, size: int, piece: Callable[[int], bytes]) -> None:
    target = check_target(path, force=True)
    partial = partial_name(target)
    sweep(target)
    try:
        with partial.open("wb") as file:
            written = 0
            while written < size:
                data = piece(written)
                if not data:
                    raise OutputError(f"{path}: only {written} of {size} bytes came back from the worker")
                file.write(data)
                written += len(data)
        os.replace(partial, target)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
