"""Recognizes layers and norms.

Stage:  while a graph is followed.
In:     a node. Out: a :class:`LayerNode` or a :class:`NormNode`, or None. What is in no table is an operation that reads its
        inputs and makes something new; so one that is not known makes a norm stay, and never a wrong pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Tuple

import numpy

from ._graph import Graph
from ._protos import attribute, is_standard


@dataclass(frozen=True)
class LayerNode:
    """One layer: the names of its values, and where the channels are that it puts out."""

    kind: str
    source: str
    weight: str
    bias: str
    channels: int
    axis: int
    groups: int = 1
    rows: bool = True
    """Whether the weight, as the node sees it, has the output channels on its first axis."""
    padded: bool = False
    bias_problem: Optional[str] = None


@dataclass(frozen=True)
class NormNode:
    """One norm: the names of its values."""

    node: Any
    source: str
    output: str
    parts: Tuple[str, str, str, str]
    """Scale, shift, mean, variance."""
    eps: float
    training: bool


def layer_of(graph: Graph, node: Any) -> Optional[LayerNode]:
    """The layer that a node is."""
    if not is_standard(node):
        return None
    return {"Conv": _conv, "ConvTranspose": _conv, "Gemm": _gemm, "MatMul": _matmul}.get(node.op_type, _none)(graph, node)


def norm_of(graph: Graph, node: Any) -> Optional[NormNode]:
    """The norm that a node is, whether or not it is run as it would be after training."""
    if not is_standard(node) or node.op_type != "BatchNormalization" or len(node.input) != 5:
        return None
    # Up to opset 13 a norm in training is one that puts out statistics; spatial=0 is one with statistics per element.
    training = bool(attribute(node, "training_mode", 0)) or any(node.output[1:])
    if graph.opset < 9 and attribute(node, "spatial", 1) != 1:
        return None
    # The file has 32 bits: the shortest number that rounds to them is what the exporter was given.
    eps = float(str(numpy.float32(attribute(node, "epsilon", 1e-5))))
    scale, shift, mean, variance = node.input[1:]
    return NormNode(node, node.input[0], node.output[0], (scale, shift, mean, variance), eps, training)


def _none(_graph: Graph, _node: Any) -> Optional[LayerNode]:
    return None


def _conv(graph: Graph, node: Any) -> Optional[LayerNode]:
    size = _sizes(graph, node.input[1])
    if len(size) < 3:
        return None
    groups = int(attribute(node, "group", 1))
    bias = _input(node, 2)
    if node.op_type == "ConvTranspose":
        return LayerNode("conv_transpose", node.input[0], node.input[1], bias, size[1] * groups, 1, groups, padded=True)
    automatic = attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    padded = automatic or any(attribute(node, "pads", []))
    return LayerNode("conv", node.input[0], node.input[1], bias, size[0], 1, padded=padded)


def _gemm(graph: Graph, node: Any) -> Optional[LayerNode]:
    size = _sizes(graph, node.input[1])
    bias = _input(node, 2)
    if len(size) != 2 or attribute(node, "alpha", 1.0) != 1.0 or (bias and attribute(node, "beta", 1.0) != 1.0):
        return None
    rows = bool(attribute(node, "transB", 0))
    channels = size[0] if rows else size[1]
    problem = None
    if bias and graph.shape(bias) not in ((channels,), (1, channels)):
        problem = "what is added to it is no bias: it is not one number per channel"
    return LayerNode("linear", node.input[0], node.input[1], bias, channels, 1, rows=rows, bias_problem=problem)


def _matmul(graph: Graph, node: Any) -> Optional[LayerNode]:
    size, source = _sizes(graph, node.input[1]), graph.shape(node.input[0])
    if len(size) != 2 or source is None or node.input[1] not in graph.constants:
        return None
    return LayerNode("linear", node.input[0], node.input[1], "", size[1], len(source) - 1, rows=False)


def _sizes(graph: Graph, value: str) -> Tuple[int, ...]:
    """The shape of a weight; empty if it is not known to the last number."""
    shape = graph.shape(value) or ()
    sizes = tuple(size for size in shape if isinstance(size, int))
    return sizes if len(sizes) == len(shape) else ()


def _input(node: Any, place: int) -> str:
    return node.input[place] if len(node.input) > place else ""
