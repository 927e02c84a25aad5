"""What tests of sound devices share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from safa_server.runner import Runner
from safa_stream.models import load


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """The engine with the built-in model, one for all tests of a file."""
    runner = Runner(load("builtin"))
    runner.start()
    yield runner
    runner.stop()
