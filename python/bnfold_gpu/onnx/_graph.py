"""Reads a graph: its nodes, its stored tensors, and the shapes of its values.

Stage:  before a graph is followed.
In:     an ONNX model, and the folder that its external data lie in. Out: :class:`Graph`.

A stored tensor is an initializer or a `Constant` node. Exporters put `Identity`, `Transpose` and reshaping nodes between it
and the layer that uses it; :class:`Constant` says which tensor it is in the end, and how the layer sees it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Dict, List, Optional, Set, Tuple, Union

import numpy
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper

from ..errors import TraceError
from ._made_up import made_up
from ._protos import attribute, is_standard, loaded, uses_external_data
from ._shapes import SMALL, Shape, dim_of, inferred

FLOATS: Dict[int, str] = {
    TensorProto.FLOAT: "F32",
    TensorProto.FLOAT16: "F16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.DOUBLE: "F64",
}
"""The element types that can be folded, as `.safetensors` files call them."""
Bits = Any
"""An array of unsigned integers, each the bits of one element."""
BITS: Dict[int, Any] = {2: numpy.dtype("<u2"), 4: numpy.dtype("<u4"), 8: numpy.dtype("<u8")}
_WIDTHS = {TensorProto.FLOAT: 4, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2, TensorProto.DOUBLE: 8}
_RESHAPING = ("Reshape", "Unsqueeze", "Squeeze", "Flatten")


@dataclass(frozen=True)
class Constant:
    """A stored tensor as a node sees it: `root` is the name it is stored under, `names` those that it has on the way."""

    root: str
    names: Tuple[str, ...]
    shape: Tuple[int, ...]
    transposed: bool = False


class Graph:
    """The main graph of a model."""

    def __init__(self, model: Any, folder: str, path: str) -> None:
        self.model, self.path, self._folder = model, path, folder
        self.opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
        if self.opset < 7:
            raise TraceError(f"{path} is of opset {self.opset}, and 7 or newer is needed: onnx.version_converter converts it")
        self.nodes: List[Any] = list(model.graph.node)
        self.outputs: List[str] = [one.name for one in model.graph.output]
        self.tensors: Dict[str, Any] = {one.name: one for one in model.graph.initializer}
        # Before IR version 4 every initializer had to be an input, too. Since then it is one that callers may replace.
        inputs = [one.name for one in model.graph.input]
        self.replaceable: Set[str] = set() if model.ir_version < 4 else set(inputs) & set(self.tensors)
        self._inputs = [name for name in inputs if name not in self.tensors]
        self._types = inferred(model)
        self.made_up: Set[str] = set()
        """Of the constants, those that nodes compute from numbers in the graph and from shapes: no stored tensor is behind them."""
        self.constants: Dict[str, Constant] = {
            name: Constant(name, (name,), tuple(one.dims)) for name, one in self.tensors.items()
        }
        for node in self.nodes:
            self._see_constant(node)

    # ---- stored tensors ---------------------------------------------------------------------------------------------

    def _see_constant(self, node: Any) -> None:
        """Whether a node puts out a stored tensor; if so, it is remembered as such."""
        if not is_standard(node):
            return
        if node.op_type == "Constant":
            tensor = next((one.t for one in node.attribute if one.name == "value"), None)
            if tensor is not None:
                self.tensors[node.output[0]] = tensor
                self.constants[node.output[0]] = Constant(node.output[0], (node.output[0],), tuple(tensor.dims))
                return
        source = self.constants.get(node.input[0]) if node.input else None
        if source is not None and source.root not in self.replaceable:
            seen = self._passed_on(node, source)
            if seen is not None:
                self.constants[node.output[0]] = replace(seen, names=(node.output[0], *source.names))
                return
        made = self._shape_of(node) if node.op_type == "Shape" else made_up(node, self.opset, self._number)
        if made is not None:
            self.made_up.add(node.output[0])
            self.tensors[node.output[0]] = made
            self.constants[node.output[0]] = Constant(node.output[0], (node.output[0],), tuple(made.dims))

    def _shape_of(self, node: Any) -> Optional[Any]:
        """The tensor that a `Shape` node puts out, if all of it is known."""
        shape = self.shape(node.input[0])
        if shape is None:
            return None
        part = shape[attribute(node, "start", 0) : attribute(node, "end", len(shape))]
        sizes = [size for size in part if isinstance(size, int)]
        return numpy_helper.from_array(numpy.array(sizes, dtype=numpy.int64)) if len(sizes) == len(part) else None

    def _number(self, value: str, as_type: bool) -> Optional[Any]:
        """The elements of a constant that is no parameter; or any array of a value's type."""
        if as_type:
            kind = self.element_type(value)
            return numpy.zeros((), helper.tensor_dtype_to_np_dtype(kind)) if kind else None
        constant = self.constants.get(value)
        if constant is None:
            return None
        tensor = self.tensors[constant.root]
        is_parameter = constant.root not in self.made_up and tensor.data_type in FLOATS and prod(tensor.dims) > 1
        if is_parameter or constant.root in self.replaceable or prod(tensor.dims) > SMALL:
            return None
        tensor = loaded(tensor, self._folder, self.path) if uses_external_data(tensor) else tensor
        return numpy_helper.to_array(tensor).reshape(constant.shape)

    def _passed_on(self, node: Any, source: Constant) -> Optional[Constant]:
        plain = source.shape == tuple(self.tensors[source.root].dims)
        if node.op_type == "Identity":
            return source
        if node.op_type == "Transpose" and plain and len(source.shape) == 2:
            if list(attribute(node, "perm", [1, 0])) == [1, 0]:
                return replace(source, shape=source.shape[::-1], transposed=True)
        if node.op_type in _RESHAPING and not source.transposed:
            shape = self.shape(node.output[0])
            sizes = tuple(size for size in shape or () if isinstance(size, int))
            if shape is None or len(sizes) != len(shape) or prod(sizes) != prod(source.shape):
                return None
            # The same rows in another shape: what can be done to a row can be done to it here. A bias is a line anywhere.
            if len(source.shape) == 1 or (source.shape and sizes and sizes[0] == source.shape[0]):
                return replace(source, shape=sizes)
        return None

    def dtype(self, root: str) -> Optional[str]:
        """The element type of a stored tensor, None if it is none that can be folded."""
        return FLOATS.get(self.tensors[root].data_type)

    def bits(self, root: str) -> Bits:
        """A stored tensor of floating point as unsigned integers of the same bits."""
        tensor = self.tensors[root]
        width = _WIDTHS[tensor.data_type]
        if uses_external_data(tensor):
            tensor = loaded(tensor, self._folder, self.path)
        if tensor.HasField("raw_data"):
            flat = numpy.frombuffer(tensor.raw_data, dtype=BITS[width])
        elif tensor.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
            flat = numpy.array(tensor.int32_data, dtype=numpy.int32).astype(BITS[width])
        else:
            values = tensor.float_data if width == 4 else tensor.double_data
            flat = numpy.array(values, dtype=f"<f{width}").view(BITS[width])
        if flat.size != prod(tensor.dims):
            raise TraceError(f"{self.path}: {root} has {flat.size} elements, and its shape {list(tensor.dims)} needs another number")
        return flat.reshape(tuple(tensor.dims))

    def numbers(self, root: str) -> Any:
        """A stored tensor of floating point in 64 bits."""
        bits = self.bits(root)
        if self.dtype(root) == "BF16":
            return (bits.astype(numpy.uint32) << 16).view(numpy.float32).astype(numpy.float64)
        return bits.view(f"<f{bits.itemsize}").astype(numpy.float64)

    def integers(self, value: str) -> Optional[List[int]]:
        """The elements of a stored tensor of integers; None if it is none, or computed."""
        constant = self.constants.get(value)
        if constant is None or constant.root in self.replaceable:
            return None
        tensor = self.tensors[constant.root]
        if tensor.data_type not in (TensorProto.INT64, TensorProto.INT32) or prod(tensor.dims) > SMALL:
            return None
        if uses_external_data(tensor):
            tensor = loaded(tensor, self._folder, self.path)
        return [int(one) for one in numpy_helper.to_array(tensor).reshape(-1)]

    # ---- values -----------------------------------------------------------------------------------------------------

    def shape(self, value: str) -> Optional[Shape]:
        """The shape of a value, as far as it follows from those of the inputs; None if not even its rank does."""
        constant = self.constants.get(value)
        if constant is not None:
            return constant.shape
        kind = self._types.get(value)
        if kind is None or not kind.HasField("shape"):
            return None
        return tuple(dim_of(dim, f"{value}.{place}") for place, dim in enumerate(kind.shape.dim))

    def element_type(self, value: str) -> int:
        """The element type of a value; 0 if it is not known."""
        constant = self.constants.get(value)
        if constant is not None:
            return int(self.tensors[constant.root].data_type)
        kind = self._types.get(value)
        return int(kind.elem_type) if kind is not None else 0

    def input_shapes(self) -> Dict[str, Tuple[int, Shape]]:
        """Element type and shape of every input that a caller has to give."""
        return {name: (self.element_type(name), self.shape(name) or ()) for name in self._inputs}


def read(path: Union[str, os.PathLike[str]], inline: bool = False) -> Graph:
    """The graph of a file; tensors that lie beside it stay there until they are asked for. With `inline`, functions that the
    file defines are put in place of their calls."""
    place = os.fspath(path)
    try:
        model = onnx.load(place, load_external_data=False)
    except Exception as error:  # protobuf's errors have no common base but this
        if isinstance(error, OSError):
            raise
        raise TraceError(f"{place} is no ONNX model: {error}") from error
    if not model.graph.node:
        raise TraceError(f"{place} is no ONNX model, or one without nodes")
    if inline and model.functions:
        model = inliner.inline_local_functions(model)
    return Graph(model, os.path.dirname(os.path.abspath(place)), place)
