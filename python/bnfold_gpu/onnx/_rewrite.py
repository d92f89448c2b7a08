"""Puts folded tensors into a graph and takes its norms out.

Stage:  after folding.
In:     a graph, what a walk found in it, and the folded tensors. Out: the model, changed in memory. Opset, metadata, and all
        nodes that have nothing to do with a norm that was folded stay as they are.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Counter as Bag, Dict, Iterable, List, Mapping, Sequence, Set

import numpy
from onnx import TensorProto, ValueInfoProto, helper

from .._safetensors import Stored
from ..plans import Layer
from ._follow import Site, Walk
from ._graph import FLOATS, Bits, Graph
from ._own import Own
from ._protos import captured, subgraphs

_TYPES = {name: kind for kind, name in FLOATS.items()}


class Rewriter:
    """Changes one graph."""

    def __init__(self, graph: Graph, walk: Walk, own: Own) -> None:
        self._graph, self._walk, self._own = graph, walk, own
        self._uses = _uses(graph)
        self._taken: Set[str] = _all_names(graph.model.graph)
        self._gone: Set[int] = set()
        self._behind: Dict[int, Any] = {}
        """Nodes that are new, by the place of the node that they come behind."""
        self._left: List[str] = []
        """Values that have lost a reader."""
        self._renamed: Dict[str, str] = {}

    def apply(self, layers: Sequence[Layer], folded: Mapping[str, Stored]) -> None:
        """Changes the graph for all layers of a plan."""
        for layer in layers:
            assert layer.weight is not None and layer.bias is not None
            root = self._own.roots[layer.weight]
            bits = _bits(folded[layer.weight])
            _set(self._graph.tensors[root], bits.T if self._own.turned[layer.weight] else bits)
            self._give_bias(layer.weight, folded[layer.bias])
        for layer in layers:
            for place in self._walk.nodes[layer.norm]:
                self._take_out(place)
        nodes: List[Any] = []
        for place, node in enumerate(self._graph.nodes):
            nodes += [] if place in self._gone else [node]
            nodes += [self._behind[place]] if place in self._behind else []
        graph = self._graph.model.graph
        kept = _without_unused(nodes, graph, self._left, set(self._graph.constants))
        del graph.node[:]
        graph.node.extend(kept)
        self._drop_what_is_gone()

    # ---- biases -----------------------------------------------------------------------------------------------------

    def _give_bias(self, weight: str, bias: Stored) -> None:
        calls = zip(self._walk.record.calls, self._walk.sites)
        sites = [site for call, site in calls if site is not None and call.weight == (weight,)]
        constant = sites[0].constant
        stored = constant is not None and constant.root not in self._graph.made_up
        if constant is not None and stored and self._uses[constant.root] == len(sites):
            tensor = self._graph.tensors[constant.root]
            return _set(tensor, _bits(bias).reshape(tuple(tensor.dims)))
        wanted = constant.names[0] if constant is not None and stored else self._beside(weight)
        # One for every shape in which a bias is added: there may be additions behind products with more and fewer axes.
        for shape in dict.fromkeys(site.constant.shape if site.constant is not None else bias.shape for site in sites):
            name = self._new_name(wanted)
            self._store(TensorProto(name=name, data_type=_TYPES[bias.dtype], dims=shape, raw_data=bias.bytes()))
            for site in sites:
                if (site.constant.shape if site.constant is not None else bias.shape) == shape:
                    self._connect(site, name)

    def _store(self, tensor: Any) -> None:
        graph = self._graph.model.graph
        graph.initializer.append(tensor)
        if self._graph.model.ir_version < 4:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))

    def _beside(self, weight: str) -> str:
        root = self._own.roots[weight]
        return root[: -len("weight")] + "bias" if root.endswith(".weight") else f"{root}_bias"

    def _connect(self, site: Site, bias: str) -> None:
        """Makes a layer use a bias, by its own input or by an addition behind it."""
        node = self._graph.nodes[site.node]
        if site.bias is not None:
            place, at = site.bias
            self._left.append(self._graph.nodes[place].input[at])
            self._graph.nodes[place].input[at] = bias
        elif node.op_type == "MatMul":
            value = node.output[0]
            node.output[0] = self._new_name(f"{value}_without_bias")
            name = self._new_name(f"{node.name}_bias") if node.name else ""
            self._behind[site.node] = helper.make_node("Add", [node.output[0], bias], [value], name=name)
        else:
            node.input[:] = [*node.input[:2], bias]

    def _new_name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    # ---- norms ------------------------------------------------------------------------------------------------------

    def _take_out(self, place: int) -> None:
        """Removes a norm: who read what it put out reads what went into it."""
        node = self._graph.nodes[place]
        source, output = node.input[0], node.output[0]
        self._left += node.input[1:]
        if output not in self._graph.outputs:
            self._gone.add(place)
            return self._rename(output, source)
        if source in self._graph.outputs:
            # Two outputs of the graph are the same now, and each needs its name.
            self._graph.nodes[place] = helper.make_node("Identity", [source], [output], name=node.name)
            return
        self._gone.add(place)
        self._rename(source, output)

    def now(self, value: str) -> str:
        """What a value is called after all changes; for what a norm put out, what goes in its place."""
        while value in self._renamed:
            value = self._renamed[value]
        return value

    def _rename(self, old: str, new: str) -> None:
        self._renamed[old] = new
        for node in (*self._graph.nodes, *self._behind.values()):
            _rename_in(node, old, new)

    def _drop_what_is_gone(self) -> None:
        """Removes what a file says of values that it does not have any more."""
        graph = self._graph.model.graph
        present = {name for node in graph.node for name in node.output}
        present.update(one.name for one in (*graph.input, *graph.initializer))
        outputs = set(self._graph.outputs)
        infos: List[ValueInfoProto] = [one for one in graph.value_info if one.name in present - outputs]
        del graph.value_info[:]
        graph.value_info.extend(infos)


def _rename_in(node: Any, old: str, new: str) -> None:
    for names in (node.input, node.output):
        for place, name in enumerate(names):
            if name == old:
                names[place] = new
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename_in(inner, old, new)
        for output in graph.output:
            output.name = new if output.name == old else output.name


def _without_unused(nodes: Sequence[Any], graph: Any, left: Iterable[str], constants: Set[str]) -> List[Any]:
    """The nodes without those that made or passed on a constant which nobody reads any more; what is stored goes, too."""
    makers = {output: node for node in nodes for output in node.output}
    reads: Bag[str] = Counter(one.name for one in graph.output)
    for node in nodes:
        reads.update([*node.input, *captured(node)])
    gone: Set[str] = set()
    waiting = list(left)
    while waiting:
        value = waiting.pop()
        if reads[value] > 0 or value in gone:
            continue
        maker = makers.get(value)
        if maker is None:
            gone.add(value)
        elif value in constants and len(maker.output) == 1:
            gone.add(value)
            reads.subtract(maker.input)
            waiting += maker.input
    for field in (graph.initializer, graph.input):
        kept = [one for one in field if one.name not in gone]
        del field[:]
        field.extend(kept)
    return [node for node in nodes if not (node.output and node.output[0] in gone)]


def _uses(graph: Graph) -> Bag[str]:
    """How often a stored tensor is read, under whatever name, by nodes that do more than pass it on."""
    uses: Bag[str] = Counter()
    for node in graph.nodes:
        if not all(output in graph.constants for output in node.output):
            names = [*node.input, *captured(node)]
            uses.update(graph.constants[name].root for name in names if name in graph.constants)
    uses.update(graph.constants[name].root for name in graph.outputs if name in graph.constants)
    return uses


def _all_names(graph: Any) -> Set[str]:
    """Every name of a value or node, in the graphs within nodes, too."""
    names = {one.name for one in (*graph.initializer, *graph.input, *graph.output)}
    for node in graph.node:
        names.update([node.name, *node.input, *node.output])
        for inner in subgraphs(node):
            names |= _all_names(inner)
    return names


def _bits(stored: Stored) -> Bits:
    size = {"F64": "<u8", "F32": "<u4"}.get(stored.dtype, "<u2")
    return numpy.frombuffer(stored.bytes(), dtype=size).reshape(stored.shape)


def _set(tensor: Any, bits: Bits) -> None:
    """Gives a stored tensor other elements of the same type."""
    for field in ("float_data", "int32_data", "double_data", "external_data", "data_location"):
        tensor.ClearField(field)
    tensor.raw_data = numpy.ascontiguousarray(bits).tobytes()
