"""Running out of memory while pictures are made, said in one line of what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from safa_stream.errors import ModelError


@contextmanager
def remembering() -> Iterator[None]:
    """Out of memory is said in the words of pictures: what to lower here."""
    try:
        yield
    except ModelError as error:
        said, _, _ = str(error).partition(";")
        if not said.startswith("out of memory"):
            raise
        raise ModelError(
            f"{said}; try --batch 1, a smaller --view or --height, or half precision: --backend torch-cuda:fp16"
        ) from error
