"""Networks at their full size, with random weights: exported, run by ONNX Runtime, and held against torch.

Each prints its figures: size of the weights, seconds to export, relative error, and torch's time over ONNX Runtime's
at two threads each. Timed in turns, the least of three, so that other work on the machine falls on both.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from safa_exporters.graph import Part
from safa_exporters.sources.architectures import FULL, write_checkpoint
from safa_exporters.sources.checkpoint import open_checkpoint
from safa_exporters.trace import trace
from tests.exporters.tiny_checkpoints import Arrays, inputs_like, onnx_part, relative_error, saved_outside, torch_part

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]
THREADS = 2
#: Architecture, graph, batch, and time in latent frames (the vocoder's: of spectrograms): 2.5 to 5 s of sound.
FULL_SIZE = [
    ("audioldm2", "denoiser", 2, 128),
    ("audioldm", "denoiser", 2, 128),
    ("audioldm", "decoder", 2, 64),
    ("audioldm", "vocoder", 2, 256),
    ("stable-audio", "decoder", 2, 54),
    ("stable-audio", "denoiser", 2, 108),
    ("stable-audio-3", "decoder", 2, 27),
    ("stable-audio-3", "denoiser", 2, 54),
]
#: torch in single precision is as far from torch in double precision here (1.8e-5), and ONNX Runtime no farther.
TOLERANCES = {("stable-audio-3", "decoder"): 5e-5}
#: Stable Audio 3 whole would need more than 16 GB of memory: its widths, and a quarter of its transformer's layers.
SHALLOW = FULL["stable-audio-3"].configs["transformer"] | {"depth": 6}
CHECKPOINTS = {**FULL, "stable-audio-3": FULL["stable-audio-3"].with_configs(transformer=SHALLOW)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Full-size checkpoint directories, each written when it is first asked for."""
    written: dict[str, Path] = {}

    def path(name: str) -> Path:
        if name not in written:
            written[name] = write_checkpoint(tmp_path_factory.mktemp(name), CHECKPOINTS[name])
        return written[name]

    return path


@pytest.mark.parametrize("name, part, batch, frames", FULL_SIZE, ids=[f"{row[0]}-{row[1]}" for row in FULL_SIZE])
def test_full_size(
    checkpoint: Callable[[str], Path], tmp_path: Path, name: str, part: str, batch: int, frames: int
) -> None:
    graph = {graph.name: graph for graph in open_checkpoint(checkpoint(name)).graphs()}[part]
    inputs = inputs_like(graph, {"batch": batch, "time": frames})
    began = time.perf_counter()
    path = saved_outside(trace(graph), tmp_path / f"{part}.onnx")
    exporting = time.perf_counter() - began
    gc.collect()
    exported = onnx_part(graph, str(path), THREADS)
    found = exported(inputs)
    original = torch_part(graph)
    error = relative_error(found, original(inputs))
    ratio = speed(original, exported, inputs)
    size = path.with_suffix(".weights").stat().st_size / 1e6
    print(
        f"\n{name} {part}: {size:.0f} MB, exported in {exporting:.0f} s, relative error {error:.1e}, "
        f"torch / ONNX Runtime {ratio:.2f}"
    )
    assert error <= TOLERANCES.get((name, part), 1e-5)


def speed(original: Part, exported: Part, inputs: Arrays, rounds: int = 3) -> float:
    """torch's least time over ONNX Runtime's, run in turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        took: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for part, times in zip((original, exported), took, strict=True):
                began = time.perf_counter()
                part(inputs)
                times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return min(took[0]) / min(took[1])
