"""Is a folder the same one everywhere? The driver leaves a probe in it; each worker shows that it sees that file."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from safa_stream.errors import OutputError
from safa_stream.rendering.output import reason

PREFIX, ABANDONED = ".safa-probe-", 86400.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A file of the driver's. folder: absolute, as workers look for it; token: what the file says, and no other."""

    folder: Path
    token: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / (PREFIX + self.token)


@contextmanager
def probing(folder: Path) -> Iterator[Probe]:
    """A probe that lies in a folder while the block runs. Raises OutputError where it cannot be written.

    It has a name that nobody has looked for yet: network file systems remember for a while what was not there. Probes
    of drivers that were killed go after a day.
    """
    probe = Probe(folder.resolve(), secrets.token_hex(8))
    try:
        for left in folder.glob(PREFIX + "*"):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink(missing_ok=True)
        probe.path.write_text(probe.token, encoding="ascii")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {reason(error)}") from None
    try:
        yield probe
    finally:
        with suppress(OSError):
            probe.path.unlink(missing_ok=True)


def shared(probe: Probe) -> bool:
    """Whether this process sees the driver's folder and may write there: a folder of the same name is not enough."""
    try:
        if probe.path.read_text(encoding="ascii") != probe.token:
            return False
        with tempfile.TemporaryFile(dir=probe.folder):
            return True
    except (OSError, ValueError):
        return False
