"""Tests that run what lies in `examples/` with the programs that it is for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.proofs import Proofs
from tests.clients.studio import Studio, open_studio
from tests.server.test_serve import server


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs: its port, and its ready file."""

    port: int
    ready_file: Path

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server with the built-in model for all tests that have a session of their own and leave the rest alone."""
    folder = tmp_path_factory.mktemp("served")
    with server(folder, "--layers", "8") as (_, address):
        yield Served(address["port"], folder / "ready.json")


@pytest.fixture(scope="session")
def proofs() -> Iterator[Proofs]:
    """Takes what each test proved; `make proofs` keeps it in the table of examples/README.md."""
    gathered = Proofs()
    yield gathered
    if os.environ.get("SAFA_WRITE_PROOFS") == "1":
        gathered.keep()


@pytest.fixture(scope="session")
def one_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """JACK and a server that plays into it, one for all tests."""
    with open_studio(tmp_path_factory.mktemp("studio")) as studio:
        studio.tell("/safa/pause")
        yield studio


@pytest.fixture
def studio(one_studio: Studio) -> Iterator[Studio]:
    """The same while its session plays: it takes nothing from other tests."""
    one_studio.reset()
    one_studio.tell("/safa/play")
    yield one_studio
    one_studio.tell("/safa/pause")
