"""A torch module as an ONNX graph: torch.export first, then torch.onnx, which keeps shared free dimensions shared."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from torch import nn

from safa_exporters.graph import Axis, Graph
from safa_stream.errors import ModelError

#: The first opset with GELU as one operator; ONNX Runtime runs all of it since 1.17.
OPSET = 20
#: Precisions that a module is traced in. (int8 is made from the fp32 graph.)
TRACED = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


#: Layers whose weights and products are narrowed; what lies between them (norms, softmax, sums) stays single.
NARROWED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def narrow(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module with its products in half precision, in place; every such layer takes and gives single precision."""
    for layer in module.modules():
        if isinstance(layer, NARROWED):
            layer.to(dtype)
            layer.register_forward_pre_hook(lambda _, inputs: tuple(value.to(dtype) for value in inputs))
            layer.register_forward_hook(lambda _, inputs, output: output.float())
    return module


def trace(graph: Graph, precision: str = "fp32") -> onnx.ModelProto:
    """The graph as an ONNX model that holds its weights; inputs and output stay single precision.

    Deterministic: the same module and versions give the same bytes. Raises ModelError where torch cannot export it.
    """
    module = graph.module()
    if precision != "fp32":
        module = narrow(module, TRACED[precision])
    example = tuple(torch.from_numpy(value) for value in graph.inputs.values())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes: Any = _dynamic_shapes(graph)
            if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(module.forward).parameters.values()):
                shapes = (shapes,)
            exported = torch.export.export(module, example, dynamic_shapes=shapes, strict=False)
            program = torch.onnx.export(
                exported,
                (),
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=[graph.output],
                opset_version=OPSET,
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ModelError(f"torch cannot export {graph.name}: {str(error).splitlines()[0]}") from error
    assert program is not None
    return cleaned(program.model_proto)


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what differs from run to run or tells of the machine: traces, file names, guessed shapes."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for kept in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        del kept.metadata_props[:]
        kept.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.functions.sort(key=lambda function: function.name)
    return model


def _dynamic_shapes(graph: Graph) -> tuple[Mapping[int, Any], ...]:
    """What torch.export wants: per input its free dimensions, one Dim for all axes of a name."""
    dims: dict[str, Any] = {}

    def dim(axis: Axis) -> Any:
        base = dims.setdefault(axis.name, torch.export.Dim(axis.name, min=axis.least, max=axis.most))
        return base if axis.multiple == 1 else axis.multiple * base

    return tuple({d: dim(axis) for d, axis in graph.axes.get(name, {}).items()} for name in graph.inputs)
