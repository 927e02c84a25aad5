"""Laws run on every array library that is installed; tests that need torch live in tests/training and tests/torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.toy import NUMPY, World

HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_DIFFUSERS = importlib.util.find_spec("diffusers") is not None

# How long an example takes is up to the machine, and to what else it does.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

collect_ignore = ([] if HAS_TORCH else ["training"]) + ([] if HAS_TORCH and HAS_DIFFUSERS else ["torch"])

#: Tests that talk to programs of other makers: a browser, OSC tools, audio servers and the PortAudio library.
WITH_PROGRAMS = (
    "browser",
    "examples",
    "test_osc_programs",
    "test_audio_servers",
    "test_device",
    "test_device_away",
    "test_play",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, so that `make test` needs nothing but Python."""
    for item in items:
        if item.path.stem in WITH_PROGRAMS or item.path.parent.name in WITH_PROGRAMS:
            item.add_marker("programs")


def pytest_report_header() -> str:
    """Say what cannot be tested here."""
    missing = [name for name, there in (("torch", HAS_TORCH), ("diffusers", HAS_DIFFUSERS)) if not there]
    if not missing:
        return "safa-stream: laws run on numpy and on torch"
    return f"safa-stream: {' and '.join(missing)} not installed, so tests/torch is left out" + (
        ", tests/training too, and laws run on numpy only" if not HAS_TORCH else ""
    )


@pytest.fixture(params=["numpy", "torch"] if HAS_TORCH else ["numpy"])
def world(request: pytest.FixtureRequest) -> World:
    """An array library to run the same law on."""
    return NUMPY if request.param == "numpy" else torch_world()


def torch_world() -> World:
    """Torch tensors on the CPU."""
    import torch

    def from_numpy(values: object) -> object:
        return torch.from_numpy(np.array(values, np.float32))

    def to_numpy(values: torch.Tensor) -> object:
        return values.numpy()

    return World("torch", from_numpy, to_numpy)


@pytest.fixture(autouse=True)
def _printed_arrays() -> Iterator[None]:
    """Short arrays in failure messages."""
    with np.printoptions(precision=4, threshold=40, suppress=True):
        yield
