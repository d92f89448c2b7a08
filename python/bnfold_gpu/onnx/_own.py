"""The stored tensors of a graph, under names that a plan can say.

Stage:  while a graph is followed in order to be folded itself.
In:     a :class:`Graph`. Out: :class:`Own`, which names weights, biases and norms.

Here the graph is its own checkpoint, and nodes can be given tensors of their own. So a bias or a norm's tensors that several
nodes share are no obstacle: each norm is the nodes that have the same tensors behind the same layer. A shared weight is one.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Optional, Tuple

from .._record import Call
from ._follow import Found
from ._graph import Constant, Graph
from ._layers import LayerNode, NormNode

_REPLACED = "callers may replace it, as it is an input of the graph"


class Own:
    """Names for what may take part in a fold. `norm_nodes` has one node of each norm."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.roots: Dict[str, str] = {}
        """By name of a weight: the stored tensor that it is."""
        self.turned: Dict[str, bool] = {}
        """By name of a weight: whether its output channels are on the second axis of the stored tensor."""
        self.norm_nodes: Dict[str, NormNode] = {}
        self._names: Dict[str, str] = {}
        self._biases: Dict[Tuple[str, str], str] = {}
        self._norms: Dict[Tuple[object, ...], str] = {}
        for root, tensor in graph.tensors.items():
            if len(tensor.dims) > 1:
                self._names[root] = _unique(root if root.endswith(".weight") else f"{root}.weight", self.roots)
                self.roots[self._names[root]] = root

    # ---- what the decision about norms asks -------------------------------------------------------------------------

    def norms(self) -> List[str]:
        """The norms of the graph."""
        return list(self.norm_nodes)

    def known(self, name: str) -> bool:
        """Whether there is a weight or bias of this name."""
        return name in self.roots or name in self._biases.values()

    has = known

    def rank(self, name: str) -> int:
        """The number of dimensions of a weight."""
        return len(self._graph.tensors[self.roots[name]].dims)

    def in_file(self, names: Iterable[str]) -> Tuple[str, ...]:
        """All of the names."""
        return tuple(names)

    def overlapping(self, name: str) -> FrozenSet[str]:
        """None: every stored tensor is stored once."""
        return frozenset()

    # ---- what a walk asks -------------------------------------------------------------------------------------------

    def weight(self, constant: Constant, layer: LayerNode) -> Found:
        """The weight of a layer."""
        name = self._names.get(constant.root)
        problem = self._problem(constant)
        if name is None or problem is not None:
            return Found(() if name is None else (name,), problem or "its weight is stored as a line")
        turned = layer.rows == constant.transposed
        if self.turned.setdefault(name, turned) != turned:
            return Found((name,), "the weight is used both as it is and transposed")
        return Found((name,))

    def bias(self, constant: Constant, weight: Tuple[str, ...]) -> Found:
        """The bias of a layer: beside the weight, unless the weight has been run with another one."""
        if not weight:
            return Found(())
        beside = weight[0][: -len("weight")] + "bias"
        name = self._biases.setdefault((beside, constant.root), beside)
        if any(other != constant.root for place, other in self._biases if place == beside):
            name = self._biases[beside, constant.root] = f"{beside} ({constant.root})"
        return Found((name,), self._problem(constant))

    def norms_at(self, norm: NormNode, call: Optional[Call]) -> Found:
        """The norm that a node is: the one of all nodes with the same tensors behind the same weight."""
        parts = [self._graph.constants.get(value) for value in norm.parts]
        stored = [part for part in parts if part is not None]
        whole = len(stored) == len(parts)
        behind = call.weight if call is not None and call.weight else norm.output
        key = (tuple(part.root for part in stored), norm.eps, behind) if whole else (norm.output,)
        if key not in self._norms:
            self._norms[key] = self._path(norm, stored[-1].names[0] if whole else norm.node.name or norm.output)
            self.norm_nodes[self._norms[key]] = norm
        problems = (self._problem(part) for part in stored)
        problem = next((one for one in problems if one is not None), None) if whole else "its tensors are computed in the graph"
        return Found((self._norms[key],), problem)

    def read(self, constant: Constant) -> Tuple[str, ...]:
        """The weight that a reader of a constant reads."""
        return (self._names[constant.root],) if constant.root in self._names else ()

    def _problem(self, constant: Constant) -> Optional[str]:
        if constant.root in self._graph.replaceable:
            return f"{constant.root} may change: {_REPLACED}"
        return None if self._graph.dtype(constant.root) else f"{constant.root} is stored in a type that cannot be scaled"

    def _path(self, norm: NormNode, variance: str) -> str:
        """A path for a norm: its tensors' common one, as far as names tell."""
        path, _, end = variance.rpartition(".")
        path = path if path and end == "running_var" else norm.node.name or norm.output
        taken = {name[: -len(".weight")] for name in self.roots} | set(self.norm_nodes)
        return _unique(path, taken)


def _unique(name: str, taken: Iterable[str]) -> str:
    """The name, or one with a number behind it that is not taken."""
    names, found, number = set(taken), name, 1
    while found in names:
        number += 1
        stem, dot, end = name.rpartition(".weight")
        found = f"{stem}#{number}{dot}{end}" if dot else f"{name}#{number}"
    return found
