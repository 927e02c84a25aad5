"""Weights and activations of matrix products in 8 bits, calibrated on what the network really sees.

Weights are quantised per output channel, activations as they come (dynamically). What costs precision are channels of
the activations that are much larger than others; so, as in SmoothQuant (arXiv 2211.10438, Eq. 4), each product's input
is divided, channel by channel, by s = max|x|^a / max|w|^(1 - a), and the weights are multiplied by it. max|x| is taken
over calls of whole trajectories of the model itself. The products that cost the most precision on those calls, each
narrowed alone, stay in single precision: the layer that reads the noisy latents is the first of them.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from safa_stream.errors import ModelError
from safa_stream.models.backends.graphs import Arrays

#: a of the formula above: how much of the difficulty moves from the activations to the weights.
STRENGTH = 0.5
#: Share of the products that stay in single precision.
LEFT_OUT = 0.125
#: Products with fewer weights than this gain nothing.
SMALLEST = 256 * 256


def quantised(
    model: onnx.ModelProto, calls: Sequence[Arrays], report: Callable[[str], None] = lambda line: None
) -> onnx.ModelProto:
    """An fp32 graph with its large matrix products in 8 bits. calls: inputs of the graph from real trajectories.

    Raises ModelError where the graph has no such products, or there are no calls.
    """
    products = _products(model)
    if not products or not calls:
        raise ModelError("int8 needs a graph with large matrix products and calls to calibrate with")
    largest = _largest_activations(model, sorted({node.input[0] for node in products}), calls)

    def narrowed(names: Sequence[str]) -> onnx.ModelProto:
        return _dynamic(_smoothed(model, set(names), largest), names)

    expected = _results(model, calls)
    alone = {}
    for number, node in enumerate(products, 1):
        alone[node.name] = _error(_results(narrowed([node.name]), calls), expected)
        report(f"int8: product {number} of {len(products)} alone costs {alone[node.name]:.4f}")
    ranked = sorted(alone, key=lambda name: alone[name])
    kept = set(ranked[: len(ranked) - round(LEFT_OUT * len(ranked))])
    return narrowed([node.name for node in products if node.name in kept])


def _products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Matrix products with stored weights that are large enough."""
    sizes = {each.name: int(np.prod(each.dims)) for each in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type == "MatMul" and sizes.get(node.input[1], 0) >= SMALLEST]


def _largest_activations(
    model: onnx.ModelProto, names: Sequence[str], calls: Sequence[Arrays]
) -> dict[str, npt.NDArray[np.float32]]:
    """The largest magnitude of every channel of named values, over all calls."""
    probe = copy.deepcopy(model)
    for name in names:
        probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = _session(probe)
    largest: dict[str, npt.NDArray[np.float32]] = {}
    for call in calls:
        for name, value in zip(names, session.run(list(names), dict(call)), strict=True):
            found = np.abs(value).reshape(-1, value.shape[-1]).max(0)
            largest[name] = np.maximum(largest.get(name, found), found)
    return largest


def _results(model: onnx.ModelProto, calls: Sequence[Arrays]) -> list[npt.NDArray[np.float32]]:
    session = _session(model)
    return [session.run(None, dict(call))[0] for call in calls]


def _error(found: Sequence[npt.NDArray[np.float32]], expected: Sequence[npt.NDArray[np.float32]]) -> float:
    """Root mean square of the calls' relative errors."""
    each = [np.linalg.norm(f - e) / np.linalg.norm(e) for f, e in zip(found, expected, strict=True)]
    return float(np.sqrt(np.mean(np.square(each))))


def _session(model: onnx.ModelProto) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _smoothed(
    model: onnx.ModelProto, products: set[str], largest: Mapping[str, npt.NDArray[np.float32]]
) -> onnx.ModelProto:
    """The same function with activations and weights brought nearer to each other's spread."""
    out = copy.deepcopy(model)
    stored = {each.name: each for each in out.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in out.graph.node:
        if node.name in products:
            weight = numpy_helper.to_array(stored[node.input[1]])
            seen = np.maximum(largest[node.input[0]], 1e-5)
            scale = seen**STRENGTH / np.maximum(np.abs(weight).max(1), 1e-5) ** (1 - STRENGTH)
            scale = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
            # A name of its own: another product may share the weights and see other activations.
            own, factor, divided = (f"{node.name}/{what}" for what in ("weight", "smoothing", "smooth"))
            out.graph.initializer.append(numpy_helper.from_array(weight * scale[:, None], own))
            out.graph.initializer.append(numpy_helper.from_array(1 / scale, factor))
            nodes.append(helper.make_node("Mul", [node.input[0], factor], [divided], name=f"{node.name}/smoothing"))
            node.input[0], node.input[1] = divided, own
        nodes.append(node)
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    used = {name for node in out.graph.node for name in node.input}
    kept = [each for each in out.graph.initializer if each.name in used]
    del out.graph.initializer[:]
    out.graph.initializer.extend(kept)
    return out


def _dynamic(model: onnx.ModelProto, products: Sequence[str]) -> onnx.ModelProto:
    from onnxruntime.quantization import quantize_dynamic

    with _without_warnings(), tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=list(products),
            per_channel=True,
            # Seven bits of weights: without VNNI, AVX2 adds pairs of products in 16 bits, which eight would overflow.
            reduce_range=True,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
        return onnx.load(target)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """The quantiser warns, on the root logger, of a preparation that torch's graphs do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
