"""diffusers and transformers without their warnings and progress bars, which are not for whoever makes sound."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of theirs is printed inside; errors are raised as ever."""
    with ExitStack() as kept, warnings.catch_warnings():
        for library in ("transformers", "diffusers"):
            logging: Any = import_module(f"{library}.utils.logging")
            kept.callback(logging.set_verbosity, logging.get_verbosity())
            if logging.is_progress_bar_enabled():
                kept.callback(logging.enable_progress_bar)
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        warnings.simplefilter("ignore")
        yield
