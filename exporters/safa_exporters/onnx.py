"""Export of the built-in model's denoiser: a graph whose weights stay where they are, in the safetensors file.

torch.export and torch.onnx make the graph; every weight in it is then replaced by a reference (file, offset, length)
into `weights.safetensors`, followed by a cast to single precision, which ONNX Runtime folds away as it loads.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from safa_stream.models.builtin.networks import NetworkConfig, build
from safa_stream.models.builtin.weights import GRAPH_NAME, LAYOUT_KEY, WEIGHTS_NAME, Weights, layout_digest

INPUTS = ("noisy", "level", "condition", "context", "known")
#: Initialisers up to this many values stay in the graph (constants, slices of small tensors).
SMALL = 512
OPSET = 18
#: What the number of frames must be a multiple of: a patch, or what the U-Net halves twice.
TIME_UNITS = {"dit": 2, "unet": 4}


def export_denoiser(weights: Weights, target: Path | None = None) -> Path:
    """Write the denoiser's graph beside its weights (or to `target`); batch and time stay free.

    The directory's configuration and weights must be in place; the graph only refers to them.
    """
    config = NetworkConfig(**weights.config["network"])
    network = build(config).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.under("network.").items()})
    model = reference_weights(trace(network, config), weights.folder / WEIGHTS_NAME)
    model.metadata_props.add(key=LAYOUT_KEY, value=layout_digest(weights.folder / WEIGHTS_NAME))
    path = target or weights.folder / GRAPH_NAME
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    partial.replace(path)
    return path


def trace(network: torch.nn.Module, config: NetworkConfig) -> onnx.ModelProto:
    """The network as an ONNX model with shared dynamic batch and time."""
    batch = torch.export.Dim("batch", min=1, max=64)
    units = torch.export.Dim("units", min=4, max=2048)
    time = units * TIME_UNITS[config.kind]
    rows, length = 2, 160
    example = (
        torch.zeros(rows, length, config.latent_size),
        torch.zeros(rows),
        torch.zeros(rows, config.condition_size),
        torch.zeros(rows, length, config.latent_size),
        torch.zeros(rows, length),
    )
    dynamic = {
        "noisy": {0: batch, 1: time},
        "level": {0: batch},
        "condition": {0: batch},
        "context": {0: batch, 1: time},
        "known": {0: batch, 1: time},
        "valid": None,
    }
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(network, (*example, None), dynamic_shapes=dynamic, strict=False)
        program = torch.onnx.export(
            exported, (), dynamo=True, input_names=INPUTS, output_names=["clean"], opset_version=OPSET, verbose=False
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.functions.sort(key=lambda function: function.name)
    return model


def reference_weights(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Replace every large initialiser by a reference to the equal (or transposed) tensor of a safetensors file."""
    stored = _stored_tensors(path)
    kept: list[TensorProto] = []
    added: list[onnx.NodeProto] = []
    for initialiser in model.graph.initializer:
        value = numpy_helper.to_array(initialiser)
        found = stored.get(_key(value)) if value.dtype == np.float32 and value.size > SMALL else None
        turned = stored.get(_key(value.T)) if found is None and value.ndim == 2 and value.size > SMALL else None
        if found is None and turned is None:
            kept.append(initialiser)
            continue
        shape, offset, length = found or turned or ((), 0, 0)
        name = f"{initialiser.name}/half"
        kept.append(_reference(name, shape, path.name, offset, length))
        cast = f"{initialiser.name}/stored" if turned else initialiser.name
        added.append(helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT))
        if turned:
            added.append(helper.make_node("Transpose", [cast], [initialiser.name], perm=[1, 0]))
    nodes = [*added, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return model


def _stored_tensors(path: Path) -> dict[bytes, tuple[tuple[int, ...], int, int]]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
        content = file.read()
    out = {}
    for name, entry in header.items():
        if name.startswith("network.") and entry["dtype"] == "F16":
            begin, end = entry["data_offsets"]
            value = np.frombuffer(content[begin:end], np.float16).reshape(entry["shape"]).astype(np.float32)
            out[_key(value)] = (tuple(entry["shape"]), 8 + size + begin, end - begin)
    return out


def _key(value: np.ndarray[Any, Any]) -> bytes:
    return repr(value.shape).encode() + np.ascontiguousarray(value).tobytes()


def _reference(name: str, shape: tuple[int, ...], file: str, offset: int, length: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
