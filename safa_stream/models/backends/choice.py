"""Which backend "auto" stands for: what `safa-stream calibrate` measured to be the fastest here, else a safe default.

The choice is kept in the user's cache by model, and holds only for the machine and the packages that it was made on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safa_stream.errors import OutputError, SafaError
from safa_stream.models.backends.machine import Machine, cache_folder, here
from safa_stream.models.backends.spec import AUTO, Backend, parse

FORMAT = "safa-backends-1"
FILE = "backends.json"


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend and where it comes from: "named", "calibrated", "default", or "stale" (calibrated elsewhere)."""

    backend: Backend
    origin: str


def chosen(text: str, model: str, machine: Machine | None = None) -> Choice:
    """The backend that `text` names, "auto" as measured for the model of that digest. Raises UsageError."""
    if text.strip().lower() != AUTO:
        return Choice(parse(text), "named")
    return automatic(model, machine or here())


def automatic(model: str, machine: Machine) -> Choice:
    """The fastest measured backend for a model, or the default where nothing was measured on this machine."""
    default = Backend("onnx-cuda" if machine.gpus and "onnxruntime-gpu" in machine.packages else "onnx")
    entry = read().get(model)
    if entry is None:
        return Choice(default, "default")
    if entry.get("machine") != machine.digest:
        return Choice(default, "stale")
    try:
        return Choice(parse(str(entry["backend"])), "calibrated")
    except (SafaError, KeyError):
        return Choice(default, "default")


def read() -> dict[str, Any]:
    """All choices by model digest; none where the cache cannot be read or is of another format."""
    try:
        kept = json.loads((cache_folder() / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    models = kept.get("models") if isinstance(kept, dict) and kept.get("format") == FORMAT else None
    return models if isinstance(models, dict) else {}


def keep(model: str, backend: Backend, machine: Machine, measured: Mapping[str, Any]) -> Path:
    """Write the choice for a model; returns the file. Raises OutputError where the cache cannot be written."""
    models = {**read(), model: {"backend": str(backend), "machine": machine.digest, "measured": measured}}
    folder = cache_folder()
    partial = folder / (FILE + ".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"format": FORMAT, "models": models}, indent=1), encoding="utf-8")
        return partial.replace(folder / FILE)
    except OSError as error:
        raise OutputError(f"cannot keep the choice in {folder}: {error.strerror}") from error
