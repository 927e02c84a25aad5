"""Models behind one interface (`models.interface`); beside training the only place for inference libraries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from safa_stream.errors import ModelError, UsageError

if TYPE_CHECKING:
    from safa_stream.models.interface import Model

BUILTIN = "builtin"
#: What an id on the hub looks like: OWNER/NAME.
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
#: NAME@SECONDS: a pretrained model with views of another length.
VIEWED = re.compile(r"(.+)@(\d+(?:\.\d+)?)")


def is_pretrained(name: str) -> bool:
    """Whether a model's name means one of diffusers: a folder with its index, or an id where no such folder is."""
    folder = Path(_parted(name)[0])
    return (folder / "model_index.json").is_file() if folder.is_dir() else HUB_ID.fullmatch(str(folder)) is not None


def load(name: str = BUILTIN, backend: str = "auto") -> Model:
    """A model: "builtin", a folder that `safa-stream train` wrote, a folder of diffusers, or an id of the hub.

    An id such as cvssp/audioldm2 is looked up in the hub's cache on this machine and downloaded where it is not there.
    Pretrained models take views of another length, in seconds: cvssp/audioldm2@5.12; shorter ones need less memory and
    are heard sooner.
    backend: what its networks run on, see `backends.spec`; "auto" is the fastest that was measured here, for pretrained
    models the GPU where there is one.

    Raises:
        ModelError: there is no such model, or its files are incomplete or damaged, or the backend cannot be used here.
        UsageError: there is no such backend, or the model does not take views of that length.
    """
    pretrained = is_pretrained(name)
    name, view = _parted(name)
    folder = Path(name)
    if view is not None and not pretrained:
        raise UsageError(f"only pretrained models take views of another length, not {name}@{view:g}")
    if name == BUILTIN or (folder.is_dir() and not pretrained):
        from safa_stream.models.builtin.runtime import load_builtin

        return load_builtin(None if name == BUILTIN else folder, backend)
    if not pretrained:
        raise ModelError(
            f"no such model folder: {name}; a model is {BUILTIN}, a folder, or an id of the hub such as "
            "cvssp/audioldm2 (see safa-stream models)"
        )
    try:
        from safa_stream.models.pretrained.families import open_pretrained
        from safa_stream.models.pretrained.hub import fetched
    except ImportError as error:
        raise ModelError(f"pretrained models need more ({error}): pip install 'safa-stream[torch]'") from error
    return open_pretrained(folder if folder.is_dir() else fetched(name), backend, view)


def _parted(name: str) -> tuple[str, float | None]:
    """A name and the seconds of a view after it; a folder may have such a name."""
    found = None if Path(name).exists() else VIEWED.fullmatch(name)
    return (found[1], float(found[2])) if found else (name, None)
