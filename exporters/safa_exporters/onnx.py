"""Graphs whose weights stay where they are, in a model directory's safetensors file.

Every large weight of a traced graph is replaced by a reference (file, offset, length) into `weights.safetensors`,
followed by a cast to single precision, which ONNX Runtime folds away as it loads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from safa_exporters.decoder_graph import decoder_graph
from safa_exporters.sources.builtin import denoiser_graph
from safa_exporters.trace import trace
from safa_stream.models.builtin.weights import (
    DECODER_NAME,
    GRAPH_NAME,
    LAYOUT_KEY,
    WEIGHTS_NAME,
    Weights,
    layout_digest,
)

#: Initialisers up to this many values stay in the graph (constants, slices of small tensors).
SMALL = 512
#: Types of tensors that are referred to, as safetensors names them.
TYPES = {"F16": (np.float16, TensorProto.FLOAT16), "F32": (np.float32, TensorProto.FLOAT)}
#: A stored tensor: its type, its shape, where it lies, and how many bytes of it.
Stored = tuple[int, tuple[int, ...], int, int]


def export_denoiser(weights: Weights, target: Path | None = None) -> Path:
    """Write the denoiser's graph beside its weights (or to `target`); batch and time stay free.

    The directory's configuration and weights must be in place; the graph only refers to them.
    """
    return write(referring(trace(denoiser_graph(weights)), weights), target or weights.folder / GRAPH_NAME)


def export_decoder(weights: Weights, target: Path | None = None) -> Path:
    """Write the decoder's graph beside its weights (or to `target`); the number of tokens stays free."""
    return write(referring(trace(decoder_graph(weights)), weights), target or weights.folder / DECODER_NAME)


def export_graphs(weights: Weights) -> list[Path]:
    """Write all graphs that a model directory has, beside its weights; returns their files."""
    return [export_denoiser(weights), export_decoder(weights)]


def referring(model: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
    """A graph that takes its weights from those of a model directory, and says in its metadata of which layout."""
    path = weights.folder / WEIGHTS_NAME
    model = reference_weights(model, path)
    model.metadata_props.add(key=LAYOUT_KEY, value=layout_digest(path))
    return model


def write(model: onnx.ModelProto, path: Path) -> Path:
    """Write a graph; it is there as a whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    partial.replace(path)
    return path


def reference_weights(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Replace large initialisers by references to the equal (or transposed) tensors of a safetensors file."""
    stored = _stored_tensors(path)
    kept: list[TensorProto] = []
    added: list[onnx.NodeProto] = []
    for initialiser in model.graph.initializer:
        value = numpy_helper.to_array(initialiser)
        large = value.dtype == np.float32 and value.size > SMALL
        found = stored.get(_key(value)) if large else None
        turned = stored.get(_key(value.T)) if large and found is None and value.ndim == 2 else None
        if found is None and turned is None:
            kept.append(initialiser)
            continue
        place = found or turned or (0, (), 0, 0)
        name = f"{initialiser.name}/{'half' if place[0] == TensorProto.FLOAT16 else 'single'}"
        kept.append(_reference(name, path.name, place))
        cast = f"{initialiser.name}/stored" if turned else initialiser.name
        added.append(helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT))
        if turned:
            added.append(helper.make_node("Transpose", [cast], [initialiser.name], perm=[1, 0]))
    nodes = [*added, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return model


def _stored_tensors(path: Path) -> dict[bytes, Stored]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
        content = file.read()
    out: dict[bytes, Stored] = {}
    for entry in header.values():
        if entry.get("dtype") in TYPES:
            dtype, kind = TYPES[entry["dtype"]]
            begin, end = entry["data_offsets"]
            value = np.frombuffer(content[begin:end], dtype).reshape(entry["shape"]).astype(np.float32)
            out[_key(value)] = (kind, tuple(entry["shape"]), 8 + size + begin, end - begin)
    return out


def _key(value: np.ndarray[Any, Any]) -> bytes:
    return repr(value.shape).encode() + np.ascontiguousarray(value).tobytes()


def _reference(name: str, file: str, stored: Stored) -> TensorProto:
    kind, shape, offset, length = stored
    tensor = TensorProto(name=name, data_type=kind, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
