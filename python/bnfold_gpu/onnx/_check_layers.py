"""Does every folded layer, by itself, compute what the layer and its norm did?

Stage:  beside `_check`, for networks that make rounding so large that their outputs do not tell.
In:     the original and the folded model, and inputs. Out: the largest difference of any layer, in parts of the largest number
        that it puts out or adds.

Each layer gets what the original network gives it, so that nothing adds up from layer to layer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Sequence

import onnx
from onnx import ModelProto, ValueInfoProto, helper

from ..errors import CheckFailed

Run = Callable[[str, Mapping[str, Any]], List[Any]]
"""Runs a file with inputs."""


@dataclass(frozen=True)
class Piece:
    """A layer that was folded: what goes into it and what came out of its norm, in the original and in the folded graph.

    `added` is the largest number that the norm adds: where it takes away nearly all of what the layer puts out, that is
    what rounding is measured by.
    """

    norm: str
    added: float
    source: str
    output: str
    new_source: str
    new_output: str


def of_layers(original: str, folded: str, pieces: Sequence[Piece], given: Mapping[str, Any], folder: str, run: Run) -> float:
    """The largest difference; CheckFailed if a layer cannot be run by itself. `folder` takes files."""
    values = _values(original, pieces, given, folder, run)
    model = onnx.load(folded)
    path, largest = os.path.join(folder, "piece.onnx"), 0.0
    for piece in pieces:
        _save(_alone(model, piece), path)
        (found,) = run(path, {**_taken(path, given), piece.new_source: values[piece.source]})
        expected = values[piece.output]
        scale = max(piece.added, float(abs(expected).max()) if expected.size else 0.0)
        off = float(abs(expected - found).max()) / (scale or 1.0) if expected.size else 0.0
        if found.shape != expected.shape or off != off:
            raise CheckFailed(f"{original}: the layer with the norm {piece.norm} puts out something else once it is folded")
        largest = max(largest, off)
    return largest


def _values(original: str, pieces: Sequence[Piece], given: Mapping[str, Any], folder: str, run: Run) -> Dict[str, Any]:
    """What goes into the layers of the original and comes out of their norms."""
    model = onnx.load(original)
    present = {one.name for one in (*model.graph.input, *model.graph.output)}
    wanted = sorted({name for piece in pieces for name in (piece.source, piece.output)} - present)
    model.graph.output.extend(ValueInfoProto(name=name) for name in wanted)
    path = os.path.join(folder, "original.onnx")
    _save(model, path)
    outputs = [one.name for one in model.graph.output]
    return {**given, **dict(zip(outputs, run(path, given)))}


def _alone(model: Any, piece: Piece) -> Any:
    """The nodes that lead from a layer's input to what it puts out."""
    graph = model.graph
    makers = {output: place for place, node in enumerate(graph.node) for output in node.output}
    stored = {one.name: one for one in graph.initializer}
    places, used, waiting = set(), set(), [piece.new_output]
    while waiting:
        value = waiting.pop()
        if value in used or value == piece.new_source:
            continue
        used.add(value)
        if value in makers:
            places.add(makers[value])
            waiting += [name for name in graph.node[makers[value]].input if name]
    nodes = [graph.node[place] for place in sorted(places)]
    inputs = [one for one in graph.input if one.name in used and one.name != piece.new_source and one.name not in stored]
    source = ValueInfoProto(name=piece.new_source)
    kind = next((one.data_type for name, one in stored.items() if name in used and len(one.dims) > 1), onnx.TensorProto.FLOAT)
    source.type.tensor_type.elem_type = kind
    tensors = [one for name, one in stored.items() if name in used]
    made = helper.make_graph(nodes, "piece", [source, *inputs], [ValueInfoProto(name=piece.new_output)], initializer=tensors)
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=max(4, model.ir_version), functions=model.functions)


def _taken(path: str, given: Mapping[str, Any]) -> Dict[str, Any]:
    names = {one.name for one in onnx.load(path, load_external_data=False).graph.input}
    return {name: value for name, value in given.items() if name in names}


def _save(model: ModelProto, path: str) -> None:
    """In two files: one alone may be too large."""
    if os.path.exists(f"{path}.data"):
        os.unlink(f"{path}.data")
    onnx.save(model, path, save_as_external_data=True, location=f"{os.path.basename(path)}.data", size_threshold=1 << 20)
