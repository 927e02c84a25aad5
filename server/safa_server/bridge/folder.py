"""Where plugins leave their segments, and which of them are alive. The plugin's file_mapping.hpp says the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from safa_stream.errors import FailureError

SUFFIX = ".safa"


def plugin_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """SAFA_PLUGIN_FOLDER, else a folder in the user's own place for such files."""
    if given := environment.get("SAFA_PLUGIN_FOLDER"):
        return Path(given)
    if sys.platform == "win32":
        return Path(environment.get("LOCALAPPDATA", ".")) / "safa-stream-plugins"
    if base := environment.get("XDG_RUNTIME_DIR"):
        return Path(base) / "safa-stream-plugins"
    return Path(f"/tmp/safa-stream-plugins-{os.getuid()}")


def prepare(folder: Path) -> None:
    """Make the folder, for its owner alone. Raises FailureError where it is somebody else's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise FailureError(f"cannot make the plugins' folder {folder}: {error.strerror}") from None
    if sys.platform != "win32" and found.st_uid != os.geteuid():
        raise FailureError(f"the plugins' folder {folder} belongs to somebody else; set SAFA_PLUGIN_FOLDER")


def segments(folder: Path) -> list[Path]:
    """The files of segments, by name."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def lives(process: int) -> bool:
    """Whether a process is there. On Windows there is no harmless way to ask, and no need: a file in use stays."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
