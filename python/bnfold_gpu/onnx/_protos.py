"""What is asked of nodes and tensors everywhere.

Stage:  ground of this part.
In:     messages of an ONNX file. Out: their parts.
"""

from __future__ import annotations

from typing import Any, Iterator, Set

from onnx import AttributeProto, TensorProto, external_data_helper, helper

from ..errors import TraceError


def is_standard(node: Any) -> bool:
    """Whether a node is one of ONNX itself, and not of a library that may mean anything by the same word."""
    return node.domain in ("", "ai.onnx")


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of an attribute."""
    found = next((one for one in node.attribute if one.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def subgraphs(node: Any) -> Iterator[Any]:
    """The graphs that a node holds: branches, bodies of loops."""
    for one in node.attribute:
        if one.type == AttributeProto.GRAPH:
            yield one.g
        elif one.type == AttributeProto.GRAPHS:
            yield from one.graphs


def captured(node: Any) -> Set[str]:
    """What the graphs inside a node may read of the graph around it: every name that they mention."""
    found: Set[str] = set()
    for graph in subgraphs(node):
        found.update(one.name for one in graph.output)
        for inner in graph.node:
            found.update(inner.input)
            found |= captured(inner)
    return found


def uses_external_data(tensor: Any) -> bool:
    """Whether a tensor's elements lie in a file of their own."""
    return bool(external_data_helper.uses_external_data(tensor))


def point_to(tensor: Any, location: str, **where: int) -> None:
    """Says that a tensor's elements lie in another file, at `offset` and of `length`."""
    for field in ("raw_data", "external_data"):
        tensor.ClearField(field)
    for key, value in {"location": location, **where}.items():
        tensor.external_data.add(key=key, value=str(value))
    tensor.data_location = TensorProto.EXTERNAL


def loaded(tensor: Any, folder: str, path: str) -> Any:
    """A copy of a tensor with its elements, which lie in a file of their own."""
    whole = TensorProto()
    whole.CopyFrom(tensor)
    try:
        external_data_helper.load_external_data_for_tensor(whole, folder)
    except Exception as error:  # it raises whatever its parts raise
        raise TraceError(f"{path}: the elements of {tensor.name!r} cannot be read: {error}") from error
    return whole
