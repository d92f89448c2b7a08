"""Follows a graph from its inputs to its outputs.

Stage:  the heart of `make_plan` and `fold`.
In:     a :class:`Graph`, and who knows what its tensors are called. Out: a :class:`Record`, and the places of what it found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple

from .._record import Call, Record, Seen
from ._content import Content, moved, text_of
from ._graph import Constant, Graph
from ._layers import LayerNode, NormNode, layer_of, norm_of
from ._protos import captured, is_standard

# Nodes that read the shape of their input and no element of it.
_SHAPE_ONLY = ("Shape", "Size")


class Found(NamedTuple):
    """The names of a stored tensor. Without any, or where a layer cannot take a norm, why."""

    names: Tuple[str, ...]
    problem: Optional[str] = None
    code: str = "computed"


class Tensors(Protocol):
    """What the stored tensors of a graph are called."""

    def weight(self, constant: Constant, layer: LayerNode) -> Found:
        """The weight of a layer."""
        ...

    def bias(self, constant: Constant, weight: Tuple[str, ...]) -> Found:
        """The bias of the layer that has this weight."""
        ...

    def norms_at(self, norm: NormNode, call: Optional[Call]) -> Found:
        """The norms that a node may be; `call` is the layer in front of it, if it is one."""
        ...

    def read(self, constant: Constant) -> Tuple[str, ...]:
        """The names of a tensor that is read otherwise."""
        ...


@dataclass
class Site:
    """Where a layer is in the graph: its node, and the input that its bias is, if it has one."""

    layer: LayerNode
    node: int
    bias: Optional[Tuple[int, int]] = None
    constant: Optional[Constant] = None


@dataclass
class Walk:
    """What a walk through a graph has shown. `sites` go with `record.calls`, `nodes` are those of each norm."""

    record: Record = field(default_factory=Record)
    sites: List[Optional[Site]] = field(default_factory=list)
    nodes: Dict[str, List[int]] = field(default_factory=dict)


class Walker:
    """Goes through the nodes in the order in which they stand, which is one in which they can be run."""

    def __init__(self, graph: Graph, tensors: Tensors) -> None:
        self.walk = Walk()
        self._graph, self._tensors = graph, tensors
        self._contents: Dict[str, Content] = {}

    def follow(self) -> Walk:
        """The whole graph."""
        for place, node in enumerate(self._graph.nodes):
            self._see(place, node)
        for output in self._graph.outputs:
            self._read([output], "an output of the graph")
        return self.walk

    # ---- one node ---------------------------------------------------------------------------------------------------

    def _see(self, place: int, node: Any) -> None:
        if all(output in self._graph.constants for output in node.output if output):
            return
        norm = norm_of(self._graph, node)
        if norm is not None and self._norm(place, norm):
            return
        layer = layer_of(self._graph, node)
        if layer is not None:
            return self._layer(place, node, layer)
        if is_standard(node) and node.op_type in _SHAPE_ONLY:
            return self._put(node, Content(origin=text_of(node)))
        if self._bias_added(place, node):
            return
        content = moved(self._graph, node, [self._content(one) for one in node.input if one])
        if content is not None:
            self._read_stored(node.input, text_of(node))
            return self._put(node, content)
        self._read([*node.input, *sorted(captured(node))], text_of(node))
        self._put(node, Content(origin=text_of(node)))

    def _content(self, value: str) -> Content:
        return self._contents.get(value, Content())

    def _put(self, node: Any, content: Content) -> None:
        for output in node.output:
            if output:
                self._contents[output] = content

    def _read(self, values: Sequence[str], reader: str) -> None:
        """Elements are read by something that is no norm; so are stored tensors."""
        for value in values:
            for call in self._content(value).calls:
                self.walk.record.calls[call].reads.append(reader)
        self._read_stored(values, reader)

    def _read_stored(self, values: Sequence[str], reader: str) -> None:
        for value in values:
            constant = self._graph.constants.get(value)
            for name in () if constant is None else self._tensors.read(constant):
                self.walk.record.readers[name].append(reader)

    # ---- layers -----------------------------------------------------------------------------------------------------

    def _layer(self, place: int, node: Any, layer: LayerNode) -> None:
        weight = self._graph.constants.get(layer.weight)
        found = Found((), "its weight is computed in the graph") if weight is None else self._tensors.weight(weight, layer)
        call = Call(layer.kind, found.names, len(self.walk.record.calls), layer.channels, layer.groups)
        call.problem, call.problem_code, call.padded = found.problem, found.code, layer.padded
        site = Site(layer, place)
        unnamed = [] if found.names else [layer.weight]
        if layer.bias:
            bias = self._graph.constants.get(layer.bias)
            named = Found((), "its bias is computed in the graph") if bias is None else self._tensors.bias(bias, found.names)
            call.bias, call.problem = named.names, call.problem or layer.bias_problem or named.problem
            site.bias, site.constant = (place, 2), bias
            unnamed += [] if named.names else [layer.bias]
        self._feeds(layer, call)
        # A weight that has a name is read by its layer and by nobody else.
        self._read(unnamed, text_of(node))
        self._add(call, site)
        self._put(node, Content((call.first,), layer.axis, origin=call.text()))

    def _add(self, call: Call, site: Optional[Site]) -> None:
        self.walk.record.calls.append(call)
        self.walk.sites.append(site)

    def _feeds(self, layer: LayerNode, call: Call) -> None:
        """A layer reads its input. A norm whose whole output it reads could be folded forward into it."""
        content = self._content(layer.source)
        for one in content.calls:
            fed = self.walk.record.calls[one]
            if fed.kind == "norm" and content.axis == 1 and not call.padded and call.weight:
                self.walk.record.followed_by.setdefault(fed.first, []).append(call.first)
        self._read([layer.source], call.text())

    def _bias_added(self, place: int, node: Any) -> bool:
        """Whether a node adds a bias to a layer that has none, one number per channel."""
        if not is_standard(node) or node.op_type != "Add":
            return False
        for at_value, at_bias in ((0, 1), (1, 0)):
            value, constant = node.input[at_value], self._graph.constants.get(node.input[at_bias])
            content, shape = self._content(value), self._graph.shape(value)
            if constant is None or content.axis is None or shape is None:
                continue
            call, site = self.walk.record.calls[content.calls[0]], self.walk.sites[content.calls[0]]
            if site is None or site.bias is not None or call.reads or call.norms:
                continue
            if not _is_per_channel(constant.shape, len(shape), content.axis, call.channels):
                continue
            found = self._tensors.bias(constant, call.weight)
            if found.names and not found.problem:
                call.bias, site.bias, site.constant = found.names, (place, at_bias), constant
                self._put(node, content)
                return True
        return False

    # ---- norms ------------------------------------------------------------------------------------------------------

    def _norm(self, place: int, norm: NormNode) -> bool:
        """Whether a node is a norm of the checkpoint; if so, what feeds it is written down."""
        content = self._content(norm.source)
        seen = self._in_front(content, norm)
        call = None if seen.call is None else self.walk.record.calls[seen.call]
        found = self._tensors.norms_at(norm, call)
        if not found.names:
            return False
        if found.problem is not None:
            seen = Seen(None, (), norm.eps, found.code, found.problem)
        for name in found.names:
            self.walk.record.norms.setdefault(name, []).append(seen)
            self.walk.nodes.setdefault(name, []).append(place)
            for one in content.calls:
                self.walk.record.calls[one].norms.add(name)
        channels = self._graph.constants[norm.parts[0]].shape if norm.parts[0] in self._graph.constants else ()
        followed = Call("norm", found.names, len(self.walk.record.calls), prod(channels))
        self._add(followed, None)
        self._contents[norm.output] = Content((followed.first,), 1, origin=followed.text())
        return True

    def _in_front(self, content: Content, norm: NormNode) -> Seen:
        if norm.training:
            what = "it normalizes by the statistics of its batch, not by those that are stored"
            return Seen(None, (), norm.eps, "batch-statistics", what)
        calls = [self.walk.record.calls[one] for one in content.calls]
        if not calls:
            return Seen(None, (), norm.eps, "behind-operation", f"in front of it stands {content.origin}")
        if len(calls) > 1 or content.filled:
            parts = ", ".join(call.text() for call in calls[:4])
            rest = " and of what is no layer's output" if content.filled else ""
            return Seen(None, (), norm.eps, "several-inputs", f"{content.origin} of {parts}{rest} stands in front of it")
        if calls[0].kind == "norm":
            return Seen(None, (), norm.eps, "behind-norm", f"{calls[0].text()} stands in front of it")
        if content.axis != 1:
            what = "channels along another axis" if content.axis is not None else f"what {content.origin} makes of it"
            return Seen(None, (), norm.eps, "other-channels", f"of the output of {calls[0].text()} it sees {what}")
        return Seen(calls[0].first, calls[0].bias, norm.eps)


def _is_per_channel(shape: Tuple[int, ...], rank: int, axis: int, channels: int) -> bool:
    """Whether what is added to a value of this rank is one number for each of its channels."""
    whole = (1,) * (rank - len(shape)) + shape
    return len(whole) == rank and all(size == (channels if place == axis else 1) for place, size in enumerate(whole))
