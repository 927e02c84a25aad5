"""Small pipelines of pictures, written once for all tests that open them by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.torch.images import pictures


@pytest.fixture(scope="session")
def made_pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Folders and pipelines by what they are."""
    root = tmp_path_factory.mktemp("pictures")
    makers = {
        "epsilon": lambda folder: pictures.stable_diffusion(folder),
        "velocity": lambda folder: pictures.stable_diffusion(folder, "v_prediction"),
        "flow": lambda folder: pictures.stable_diffusion3(folder),
        "flow without T5": lambda folder: pictures.stable_diffusion3(folder, t5=False),
    }
    return {name: (root / name, make(root / name)) for name, make in makers.items()}
