"""Does every folded layer, by itself, compute what the layer and its norm did, and everything between what it did?

Stage:  beside `_check`, for networks that make rounding so large that their outputs do not tell.
In:     the original and the folded model, and inputs. Out: the largest difference of any part, in parts of the largest number
        that it puts out or adds.

The folded graph is cut behind each folded layer, and each part gets what the original network has there. So nothing adds up
from part to part, and no part is left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence

import onnx
from onnx import ModelProto, ValueInfoProto, helper

from ._protos import captured

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


def of_parts(original: str, folded: str, pieces: Sequence[Piece], given: Mapping[str, Any], folder: str, run: Run) -> float:
    """The largest difference; not a number if one is none. `folder` takes files."""
    values = _values(original, pieces, given, folder, run)
    model = onnx.load(folded)
    path = os.path.join(folder, "part.onnx")
    found: List[float] = []
    for piece in pieces:
        inputs = {**given, piece.new_source: values[piece.source]}
        (output,) = _run_part(model, inputs, [piece.new_output], path, run)
        found.append(difference(values[piece.output], output, piece.added))
    found += _between(model, pieces, values, given, path, run)
    return float("nan") if any(one != one for one in found) else max(found)


def difference(before: Any, after: Any, added: float = 0.0) -> float:
    """The largest difference of two arrays, in parts of the largest element; not a number if their shapes differ."""
    if before.shape != after.shape:
        return float("nan")
    if not before.size:
        return 0.0
    scale = max(added, float(abs(before).max()))
    off = float(abs(before.astype("float64") - after.astype("float64")).max())
    return off / scale if scale else off


def _between(
    model: Any, pieces: Sequence[Piece], values: Mapping[str, Any], given: Mapping[str, Any], path: str, run: Run
) -> List[float]:
    """What the folded graph makes, of what the original has behind its norms, for the next layers and as outputs."""
    inputs = {**given, **{piece.new_output: values[piece.output] for piece in pieces}}
    expected = {piece.new_source: values[piece.source] for piece in pieces}
    expected.update((one.name, values[one.name]) for one in model.graph.output)
    found = [difference(value, inputs[name]) for name, value in expected.items() if name in inputs]
    wanted = [name for name in expected if name not in inputs]
    outputs = _run_part(model, inputs, wanted, path, run) if wanted else []
    return found + [difference(expected[name], output) for name, output in zip(wanted, outputs)]


def _values(original: str, pieces: Sequence[Piece], given: Mapping[str, Any], folder: str, run: Run) -> Dict[str, Any]:
    """What the original has in front of its layers, behind their norms, and as outputs."""
    model = onnx.load(original)
    present = {one.name for one in (*model.graph.input, *model.graph.output)}
    wanted = sorted({name for piece in pieces for name in (piece.source, piece.output)} - present)
    model.graph.output.extend(ValueInfoProto(name=name) for name in wanted)
    path = os.path.join(folder, "original.onnx")
    _save(model, path)
    return {**given, **dict(zip([one.name for one in model.graph.output], run(path, given)))}


def _run_part(model: Any, inputs: Mapping[str, Any], outputs: Sequence[str], path: str, run: Run) -> List[Any]:
    """Runs the nodes that lead from some values to others."""
    graph = model.graph
    makers = {output: place for place, node in enumerate(graph.node) for output in node.output}
    places, used, waiting = set(), set(), list(outputs)
    while waiting:
        value = waiting.pop()
        if value in used:
            continue
        used.add(value)
        if value in makers and value not in inputs:
            places.add(makers[value])
            waiting += _read_by(graph.node[makers[value]])
    nodes = [graph.node[place] for place in sorted(places)]
    taken = {name: value for name, value in inputs.items() if name in used}
    infos = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(one.dtype), one.shape) for name, one in taken.items()]
    tensors = [one for one in graph.initializer if one.name in used]
    ends = [ValueInfoProto(name=name) for name in outputs]
    part = helper.make_graph(_without(nodes, taken), "part", infos, ends, initializer=tensors)
    made = helper.make_model(part, opset_imports=model.opset_import, ir_version=max(4, model.ir_version), functions=model.functions)
    _save(made, path)
    return run(path, taken)


def _read_by(node: Any) -> List[str]:
    return [name for name in (*node.input, *captured(node)) if name]


def _without(nodes: Iterable[Any], given: Mapping[str, Any]) -> List[Any]:
    """The nodes; one of which some output is given, and others are made, gives that output another name."""
    made = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.output[:] = [f"{name}.again" if name in given else name for name in node.output]
        made.append(copy)
    return made


def _save(model: ModelProto, path: str) -> None:
    """In two files: one alone may be too large."""
    if os.path.exists(f"{path}.data"):
        os.unlink(f"{path}.data")
    onnx.save(model, path, save_as_external_data=True, location=f"{os.path.basename(path)}.data", size_threshold=1 << 20)
