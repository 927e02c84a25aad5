"""Endless soundscapes from words.

    model = safa_stream.load_model()
    safa_stream.render("rain on a tent, distant thunder:0.4", 60, "tent.flac", model=model)
    for chunk in safa_stream.chunks(model, safa_stream.Scene.from_prompt("campfire")): ...

What is named here is loaded when it is first used, so that `import safa_stream` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safa_stream.engine import chunks
    from safa_stream.models import load as load_model
    from safa_stream.rendering.render import RenderResult, render
    from safa_stream.scene import Scene

__version__ = "0.1.0"
__all__ = ["RenderResult", "Scene", "__version__", "chunks", "load_model", "render"]

_PLACES = {
    "RenderResult": ("safa_stream.rendering.render", "RenderResult"),
    "Scene": ("safa_stream.scene", "Scene"),
    "chunks": ("safa_stream.engine", "chunks"),
    "load_model": ("safa_stream.models", "load"),
    "render": ("safa_stream.rendering.render", "render"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'safa_stream' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
