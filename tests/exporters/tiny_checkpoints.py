"""What tests of checkpoints share: tiny ones with random weights, and their parts run by torch and by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from safa_exporters.graph import Graph, Part, Source
from safa_exporters.sources.architectures import TINY, write_checkpoint
from safa_exporters.sources.checkpoint import open_checkpoint
from safa_exporters.trace import trace
from safa_stream.types import FloatArray

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Traced:
    """A source with every part as torch runs it and as ONNX Runtime does."""

    source: Source
    torch: dict[str, Part]
    onnx: dict[str, Part]


def tiny(folder: Path, name: str) -> Source:
    """A tiny checkpoint, written to the folder and opened."""
    return open_checkpoint(write_checkpoint(folder, TINY[name]))


def traced(source: Source) -> Traced:
    """Load and trace every graph of a source."""
    graphs = source.graphs()
    return Traced(
        source,
        {graph.name: torch_part(graph) for graph in graphs},
        {graph.name: onnx_part(graph, trace(graph).SerializeToString()) for graph in graphs},
    )


def torch_part(graph: Graph) -> Part:
    """A graph's module as a function of arrays."""
    module, names = graph.module(), tuple(graph.inputs)

    def run(inputs: Arrays) -> FloatArray:
        with torch.no_grad():
            return np.asarray(module(*(torch.from_numpy(inputs[name]) for name in names)).numpy(), np.float32)

    return run


def onnx_part(graph: Graph, model: bytes | str, threads: int = 1) -> Part:
    """An exported graph, as bytes or a path, as a function of arrays."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == list(graph.inputs)
    return lambda inputs: np.asarray(session.run([graph.output], dict(inputs))[0], np.float32)


def inputs_like(graph: Graph, sizes: Mapping[str, int], seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Other inputs for a graph: free axes of the sizes, by name; values spread as the examples are."""
    draw = np.random.default_rng(seed)
    out: dict[str, npt.NDArray[Any]] = {}
    for name, example in graph.inputs.items():
        axes = graph.axes.get(name, {})
        shape = [sizes.get(axes[d].name, size) if d in axes else size for d, size in enumerate(example.shape)]
        if np.issubdtype(example.dtype, np.floating):
            values = example.mean() + example.std() * draw.standard_normal(shape)
        else:
            values = np.resize(example, shape)
        out[name] = np.asarray(values, example.dtype)
    return out


def relative_error(found: FloatArray, expected: FloatArray) -> float:
    """The largest difference, in parts of the largest value that was expected."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def saved_outside(model: onnx.ModelProto, path: Path) -> Path:
    """A model's graph in one file and its weights in another beside it, as those over 2 GB have to be."""
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.stem}.weights", size_threshold=1024)
    return path
