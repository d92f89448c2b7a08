"""Computes constants that exporters write as nodes: zeros of a weight's length where a layer has no bias.

Stage:  while a graph is read.
In:     a node. Out: the tensor that it puts out, if that follows from numbers in the graph and from shapes alone.
"""

from __future__ import annotations

from math import prod
from typing import Any, Callable, List, Optional

from onnx import AttributeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

_FROM_NUMBERS = (
    "Constant ConstantOfShape Expand Cast CastLike Concat Gather Unsqueeze Squeeze Reshape Slice Transpose".split()
)
_MOST = 1 << 16

Number = Callable[[str, bool], Optional[Any]]
"""The elements of a value, or with True any array of its type; None if that is not known."""


def made_up(node: Any, opset: int, number: Number) -> Optional[Any]:
    """The tensor that a node puts out; None if it is computed from anything else, or large."""
    if node.op_type not in _FROM_NUMBERS or len(node.output) != 1:
        return None
    if any(one.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for one in node.attribute):
        return None
    # What a value is cast like is not read.
    given: List[Any] = [
        number(name, node.op_type == "CastLike" and place == 1) if name else None for place, name in enumerate(node.input)
    ]
    if any(name and value is None for name, value in zip(node.input, given)):
        return None
    if node.op_type in ("Expand", "ConstantOfShape") and prod(int(size) for size in given[-1].reshape(-1)) > _MOST:
        return None
    return _computed(node, opset, given)


def _computed(node: Any, opset: int, given: List[Any]) -> Optional[Any]:
    inputs = [helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(node.input) if name]
    graph = helper.make_graph([node], "one", inputs, [helper.make_empty_tensor_value_info(node.output[0])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        (value,) = ReferenceEvaluator(model).run(None, {name: one for name, one in zip(node.input, given) if name})
        tensor = numpy_helper.from_array(value, node.output[0])
    except Exception:  # what cannot be computed here is not known, and nothing is wrong
        return None
    return tensor if value.size <= _MOST else None
