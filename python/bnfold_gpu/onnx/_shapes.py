"""Infers the shapes of all values of a graph.

Stage:  while a graph is read.
In:     a model. Out: tensor types by value. What a file says of the values inside may be older than its nodes, so that only its
        inputs are believed.
"""

from __future__ import annotations

from math import prod
from typing import Any, Dict, Sequence, Tuple, Union

import onnx
from onnx import TensorProto, helper, shape_inference

from ._protos import point_to, uses_external_data

Dim = Union[int, str]
"""A size, or a name for one that is not known; the same name is the same size."""
Shape = Tuple[Dim, ...]
SMALL = 1024
"""Elements above which a tensor's values cannot matter to shapes."""


def inferred(model: Any) -> Dict[str, Any]:
    """Tensor types by value."""
    graph = model.graph
    stubs = [_stub(one) for one in graph.initializer]
    outputs = [_without_shape(one) for one in graph.output]
    bare = helper.make_graph(graph.node, "bare", graph.input, outputs, initializer=stubs)
    small = helper.make_model(bare, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions)
    try:
        known = shape_inference.infer_shapes(small, data_prop=True).graph
    except Exception:  # without shapes less is proven, and nothing is wrong
        known = graph
    found: Sequence[Any] = [*known.value_info, *known.output, *known.input]
    if known is graph:
        found = list(known.input)
    return {one.name: one.type.tensor_type for one in found if one.type.HasField("tensor_type")}


def _without_shape(output: Any) -> Any:
    """An output as it is declared, but for its shape, which nothing enforces."""
    bare = onnx.ValueInfoProto()
    bare.CopyFrom(output)
    if bare.type.HasField("tensor_type"):
        bare.type.tensor_type.ClearField("shape")
    return bare


def _stub(tensor: Any) -> Any:
    """A tensor without elements, if they are too many to be a shape."""
    if prod(tensor.dims) <= SMALL and not uses_external_data(tensor):
        return tensor
    stub = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    point_to(stub, "elsewhere")
    return stub


def dim_of(dim: Any, unknown: str) -> Dim:
    """One dimension of a shape; `unknown` is its name if it has none."""
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param if dim.HasField("dim_param") and dim.dim_param else f"?{unknown}"
