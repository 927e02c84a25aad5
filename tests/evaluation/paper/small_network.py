"""A small ONNX network that stands for a user's embedding network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper


def graph(path: Path, shape: Sequence[int | str], inputs: int = 1) -> Path:
    """An ONNX network that gives the mean, the largest and the sum of squares of what it is shown."""
    given = [helper.make_tensor_value_info(f"x{at}", TensorProto.FLOAT, list(shape)) for at in range(inputs)]
    nodes = [
        helper.make_node("Flatten", ["x0"], ["flat"], axis=0),
        helper.make_node("ReduceMean", ["flat"], ["mean"], keepdims=1),
        helper.make_node("ReduceMax", ["flat"], ["most"], keepdims=1),
        helper.make_node("ReduceSumSquare", ["flat"], ["power"], keepdims=1),
        helper.make_node("Concat", ["mean", "most", "power"], ["row"], axis=1),
    ]
    told = [helper.make_tensor_value_info("row", TensorProto.FLOAT, [1, 3])]
    made = helper.make_model(
        helper.make_graph(nodes, "small", given, told), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 9
    onnx.save(made, path)
    return path
