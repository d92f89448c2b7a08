"""What a value consists of: which layer's channels, and along which axis.

Stage:  while a graph is followed.
In:     nodes that only move elements. Out: the :class:`Content` of what they put out, or None for any other node.

A layer's output is followed only as far as it is proven that every channel is where it is said to be.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Callable, Counter as Bag, Dict, Optional, Sequence, Tuple

from ._graph import Graph
from ._protos import attribute, is_standard
from ._shapes import Shape


@dataclass(frozen=True)
class Content:
    """`calls` are those whose output is among the elements. With `axis` it is all of one's, its channels along that axis."""

    calls: Tuple[int, ...] = ()
    axis: Optional[int] = None
    filled: bool = False
    """Whether there are elements that are no layer's output as such."""
    origin: str = "an input of the network, or a constant"


def moved(graph: Graph, node: Any, contents: Sequence[Content]) -> Optional[Content]:
    """What a node puts out that only moves elements; None if it does more, or if it is not known."""
    if not is_standard(node):
        return None
    if _passes(graph, node):
        return contents[0]
    move = _MOVES.get(node.op_type)
    if move is None or not contents:
        return None
    return move(graph, node, contents)


def axis_after(before: Shape, axis: int, after: Shape) -> Optional[int]:
    """Where the elements of an axis are after a reshape, in the order of memory; None if that is not certain."""
    left, right = _elements(before[:axis]), _elements(before[axis + 1 :])
    for place, size in enumerate(after):
        if size != before[axis]:
            continue
        # All elements together are as many as before, so that one side tells the other.
        if _elements(after[place + 1 :]) == right or _elements(after[:place]) == left:
            return place
    return None


def _elements(shape: Shape) -> Tuple[int, Bag[str]]:
    """How many elements a shape has: a number, times sizes that are not known."""
    return prod(size for size in shape if isinstance(size, int)), Counter(size for size in shape if isinstance(size, str))


def _passes(graph: Graph, node: Any) -> bool:
    """Whether a node puts out what it gets."""
    if node.op_type == "Identity":
        return True
    if node.op_type == "Cast":
        kind = graph.element_type(node.input[0])
        return kind != 0 and kind == attribute(node, "to")
    # A third input may say that it is in training; a second output is the mask.
    return bool(node.op_type == "Dropout" and not any(node.input[2:]) and not any(node.output[1:]))


def _mixed(node: Any, contents: Sequence[Content], filled: bool = False) -> Content:
    """Elements of these contents, in places that are not known."""
    calls = tuple(dict.fromkeys(call for content in contents for call in content.calls))
    nothing = filled or any(not content.calls or content.filled for content in contents)
    return Content(calls, None, nothing, text_of(node))


def _reshape(graph: Graph, node: Any, contents: Sequence[Content]) -> Content:
    content, before, after = contents[0], graph.shape(node.input[0]), graph.shape(node.output[0])
    if content.axis is None or before is None or after is None:
        return _mixed(node, contents[:1])
    axis = axis_after(before, content.axis, after)
    return _mixed(node, contents[:1]) if axis is None else replace(content, axis=axis)


def _transpose(graph: Graph, node: Any, contents: Sequence[Content]) -> Content:
    content, shape = contents[0], graph.shape(node.input[0])
    order = attribute(node, "perm") or (list(range(len(shape)))[::-1] if shape is not None else None)
    if content.axis is None or order is None or content.axis not in order:
        return _mixed(node, contents)
    return replace(content, axis=list(order).index(content.axis))


def _along(graph: Graph, node: Any, axes: Optional[Sequence[int]], contents: Sequence[Content]) -> Content:
    """A part of a value, cut along these axes: other axes stay whole."""
    content, shape = contents[0], graph.shape(node.input[0])
    if content.axis is None or axes is None or shape is None:
        return _mixed(node, contents[:1])
    return _mixed(node, contents[:1]) if content.axis in {axis % len(shape) for axis in axes} else content


def _slice(graph: Graph, node: Any, contents: Sequence[Content]) -> Content:
    if graph.opset < 10:
        starts = attribute(node, "starts", [])
        return _along(graph, node, attribute(node, "axes", list(range(len(starts)))), contents)
    if len(node.input) > 3 and node.input[3]:
        return _along(graph, node, graph.integers(node.input[3]), contents)
    return _mixed(node, contents[:1])


def _split(graph: Graph, node: Any, contents: Sequence[Content]) -> Content:
    return _along(graph, node, [attribute(node, "axis", 0)], contents)


def _concat(graph: Graph, node: Any, contents: Sequence[Content]) -> Content:
    if len(contents) == 1:
        return contents[0]
    return _mixed(node, contents)


def _pad(graph: Graph, node: Any, contents: Sequence[Content]) -> Optional[Content]:
    if attribute(node, "mode", b"constant") != b"constant":
        return None
    pads = attribute(node, "pads") if graph.opset < 11 else graph.integers(node.input[1])
    if pads is not None and not any(pads):
        return contents[0]
    return _mixed(node, contents[:1], filled=True)


def _shuffle(_graph: Graph, node: Any, contents: Sequence[Content]) -> Content:
    return _mixed(node, contents[:1])


_MOVES: Dict[str, Callable[[Graph, Any, Sequence[Content]], Optional[Content]]] = {
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Gather": _shuffle,
    "Concat": _concat,
    "Pad": _pad,
    "DepthToSpace": _shuffle,
    "SpaceToDepth": _shuffle,
}


def text_of(node: Any) -> str:
    """What a node is, for sentences: ``Relu `/layer1/relu` ``."""
    name = node.name or next((output for output in node.output if output), "")
    return f"{node.op_type} `{name}`" if name else str(node.op_type)
