"""Tests that run what lies in `examples/` with the programs that it is for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.clients.proofs import Proofs


@pytest.fixture(scope="session")
def proofs() -> Iterator[Proofs]:
    """Takes what each test proved; `make proofs` keeps it in the table of examples/README.md."""
    gathered = Proofs()
    yield gathered
    if os.environ.get("SAFA_WRITE_PROOFS") == "1":
        gathered.keep()
