"""Models behind one interface (`models.interface`); beside training the only place for inference libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safa_stream.models.interface import Model


def load(name: str = "builtin", backend: str = "auto") -> Model:
    """A model by name ("builtin") or by the path of a directory that `safa-stream train` wrote.

    backend: what its networks run on, see `backends.spec`; "auto" is the fastest that was measured here.

    Raises:
        ModelError: there is no such model, or its files are incomplete or damaged, or the backend cannot be used here.
        UsageError: there is no such backend.
    """
    from safa_stream.models.builtin.runtime import load_builtin

    return load_builtin(None if name == "builtin" else Path(name), backend)
