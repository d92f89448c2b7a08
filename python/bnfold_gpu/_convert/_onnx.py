"""Reads the weights of an ONNX graph.

Stage:  reading.
In:     an `.onnx` file, external data beside it. Out: its initializers under their names, corrected by what the graph says.

Names of initializers are those of the framework that exported the graph, but its exporter merges tensors of equal values, so
that a norm may read another one's scale. The graph knows: where it and the names disagree, the graph is followed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Tuple

from ..errors import ConvertError, MissingLibrary
from ._onnx_names import corrected
from ._weights import Weights

_LAYERS = ("BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul")


def read(path: Path) -> Weights:
    """All initializers, and the constants of the graph that norms and layers read."""
    onnx = _imported()
    try:
        graph = onnx.load(str(path)).graph
        tensors = {one.name: _array(onnx, one) for one in graph.initializer}
        nodes = list(_nodes(graph))
        constants = {node.output[0]: _array(onnx, node.attribute[0].t) for node in nodes if _is_constant(node)}
    except ConvertError:
        raise
    except Exception as error:  # A damaged file raises anything.
        raise ConvertError(f"{path}: no ONNX graph that can be read, or its data is not beside it: {error}") from error
    read_by_layers = {name for node in nodes if node.op_type in _LAYERS for name in node.input}
    weights = {**{name: tensor for name, tensor in constants.items() if name in read_by_layers}, **tensors}
    if not weights:
        raise ConvertError(f"{path}: the graph holds no weights, or stores them in another way than as initializers")
    result, marks = corrected(nodes, weights, constants)
    return Weights("an ONNX graph", result, False, None, marks=marks, left_out=_others(graph))


def _imported() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise MissingLibrary("onnx", "converting an ONNX graph") from error
    return onnx


def _nodes(graph: Any) -> Iterator[Any]:
    """Those of branches and loops, too: they read the weights of the graph around them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _is_constant(node: Any) -> bool:
    return bool(node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value")


def _array(onnx: Any, tensor: Any) -> Any:
    array = onnx.numpy_helper.to_array(tensor)
    # Older versions give float32 for types that NumPy does not have.
    stored = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return array.astype(stored) if array.dtype != stored else array


def _others(graph: Any) -> Tuple[str, ...]:
    return (f"{len(graph.sparse_initializer)} sparse initializers",) if graph.sparse_initializer else ()
