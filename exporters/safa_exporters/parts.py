"""A source's parts as they are run: the torch originals, the exported graphs, and a recorder around either."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from safa_exporters.graph import Graph, Part
from safa_stream.models.backends.graphs import Arrays, open_graph
from safa_stream.models.backends.spec import Backend
from safa_stream.types import FloatArray


def original(graph: Graph) -> Part:
    """The torch module of a graph, loaded now; inputs are taken by name."""
    module, names = graph.module(), tuple(graph.inputs)

    def run(inputs: Arrays) -> FloatArray:
        with torch.no_grad():
            out: torch.Tensor = module(*(torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in names))
        return out.float().numpy()

    return run


def exported(path: Path, names: Collection[str], backend: Backend) -> Part:
    """An exported graph with inputs of those names on a backend; results are the caller's own."""
    graph = open_graph(path, backend)
    return lambda inputs: np.array(graph({name: inputs[name] for name in names}), np.float32)


@dataclass(slots=True)
class Recorder:
    """Runs a part and keeps every call's inputs and result."""

    part: Part
    calls: list[tuple[dict[str, npt.NDArray[Any]], FloatArray]] = field(default_factory=list)

    def __call__(self, inputs: Arrays) -> FloatArray:
        result = np.array(self.part(inputs), np.float32)
        self.calls.append(({name: np.array(value) for name, value in inputs.items()}, result))
        return result
