"""Which tensors of a checkpoint the stored tensors of a graph are.

Stage:  while a graph is followed, and when norms are decided about.
In:     a :class:`Graph` and the tensors of a `.safetensors` file. Out: :class:`Checkpoint`.

A name counts only if the values behind it are the same, too: optimizers fold things into weights and leave their names. Where
names were changed the values alone tell, and where several tensors have the same values, nothing does.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Set, Tuple

from .._judge import PARTS
from .._record import Call
from .._safetensors import Stored
from ._contents import Contents, rows_first
from ._follow import Found
from ._graph import Bits, Constant, Graph
from ._layers import LayerNode, NormNode
from ._which_norm import STATISTIC, Norms

_TRANSPOSED = "the weight is stored transposed, which a plan cannot say"


class Checkpoint:
    """The tensors of a checkpoint, by name and by content."""

    def __init__(self, graph: Graph, stored: Mapping[str, Stored], same_values: bool) -> None:
        self._graph, self._stored, self._same_values = graph, stored, same_values
        self._contents = Contents(stored)
        self._in_graph: Set[str] = {name for one in graph.constants.values() for name in one.names if name in stored}
        self._norms = Norms(graph, stored, self._contents, same_values)
        self._readable: Dict[str, Tuple[str, ...]] = {}

    # ---- what the decision about norms asks -------------------------------------------------------------------------

    def norms(self) -> List[str]:
        """The norms of the checkpoint."""
        return self._norms.paths

    def known(self, name: str) -> bool:
        """Whether the checkpoint has a tensor of this name."""
        return name in self._stored

    has = known

    def rank(self, name: str) -> int:
        """The number of dimensions of a tensor."""
        return len(self._stored[name].shape)

    def in_file(self, names: Iterable[str]) -> Tuple[str, ...]:
        """All of the names: there are no others."""
        return tuple(names)

    def overlapping(self, name: str) -> FrozenSet[str]:
        """Tensors that are copies of this one and of which the graph knows nothing: the same tensor, stored twice."""
        norm, _, part = name.rpartition(".")
        if norm in self._norms.paths:
            return frozenset(f"{other}.{part}" for other in self._copies_of_norm(norm))
        if self.rank(name) < 2:
            return frozenset()
        return frozenset(other for other in self._contents.copies(name) if other != name and other not in self._in_graph)

    def _copies_of_norm(self, norm: str) -> List[str]:
        alike = [other[: -len(STATISTIC)] for other in self._contents.copies(norm + STATISTIC) if other.endswith(STATISTIC)]
        others = [one for one in alike if one != norm and one not in self._norms.placed and one + STATISTIC not in self._in_graph]
        return [other for other in others if all(self._contents.equal(f"{norm}.{part}", f"{other}.{part}") for part in PARTS)]

    # ---- what a walk asks -------------------------------------------------------------------------------------------

    def norms_at(self, norm: NormNode, call: Optional[Call]) -> Found:
        """The norms that a node may be."""
        return self._norms.at(norm)

    def weight(self, constant: Constant, layer: LayerNode) -> Found:
        """The weight of a layer: the tensor that has its rows, which for a transposed convolution is all of it."""
        dtype, named = self._graph.dtype(constant.root), self._named(constant)
        if dtype is None:
            return Found((), "its weight is stored in a type that cannot be scaled")
        stored = self._graph.bits(constant.root)
        turned = layer.rows == constant.transposed
        wanted, rows = stored.T if turned else stored, layer.kind != "conv_transpose"
        if named is not None and not self._same_values:
            return self._by_name_alone(named, wanted, rows, turned)
        alike = self._contents.find(wanted, dtype, rows)
        as_stored = self._contents.find(stored, dtype) if turned else []
        if named is not None and (named in alike or named in as_stored or not (alike or as_stored)):
            return self._by_name(named, named in alike, named in as_stored)
        if len(alike) == 1 and not as_stored:
            return Found((alike[0],))
        if len(as_stored) == 1 and not alike:
            return Found((as_stored[0],), _TRANSPOSED)
        if not alike and not as_stored:
            return Found((), "no tensor of the checkpoint has its values")
        several = ", ".join(dict.fromkeys([*alike, *as_stored]))
        return Found(((alike or as_stored)[0],), f"no name tells which of these it is, that have its values: {several}", "ambiguous")

    def _by_name(self, name: str, alike: bool, as_stored: bool) -> Found:
        if alike and as_stored:
            return Found((name,), "its values do not tell whether it is stored transposed", "ambiguous")
        if alike:
            return Found((name,))
        if as_stored:
            return Found((name,), _TRANSPOSED)
        return Found((name,), "it has other values in the checkpoint, or another type or shape", "other-values")

    def _by_name_alone(self, name: str, wanted: Bits, rows: bool, turned: bool) -> Found:
        shape = self._stored[name].shape
        if turned and shape == wanted.shape[::-1]:
            return Found((name,), _TRANSPOSED)
        if shape == wanted.shape or (rows and rows_first(shape) == rows_first(wanted.shape)):
            return Found((name,))
        return Found((name,), f"it has the shape {list(shape)} in the checkpoint, and {list(wanted.shape)} here", "other-values")

    def bias(self, constant: Constant, weight: Tuple[str, ...]) -> Found:
        """The bias of a layer: the tensor beside its weight, if that has the values; else the one that is named."""
        dtype, named = self._graph.dtype(constant.root), self._named(constant)
        if dtype is None:
            return Found((), "its bias is stored in a type that cannot be scaled")
        if constant.root in self._graph.made_up and not self._graph.bits(constant.root).any():
            return Found(())  # exporters write zeros where a layer has no bias
        beside = weight[0][: -len("weight")] + "bias" if weight and weight[0].endswith("weight") else ""
        if not self._same_values and named is not None:
            return Found((named,))
        if self._same_values and beside in self._contents.find(self._graph.bits(constant.root), dtype, None):
            return Found((beside,))
        if named is not None and named == beside:
            return Found((named,), f"{named} has other values in the checkpoint, or another type or shape", "other-values")
        return Found((), "its bias is no tensor of the checkpoint") if named is None else Found((named,))

    def read(self, constant: Constant) -> Tuple[str, ...]:
        """The tensors that a reader of a constant reads. Without names, those with its values, if these tell anything."""
        named, dtype = self._named(constant), self._graph.dtype(constant.root)
        if named is not None or dtype is None:
            return () if named is None else (named,)
        if constant.root not in self._readable:
            bits = self._graph.bits(constant.root)
            alike: List[str] = []
            if bits.size > 1 and bool((bits != bits.flat[0]).any()):
                alike = self._contents.find(bits, dtype, None)
                alike += self._contents.find(bits.T, dtype) if bits.ndim == 2 else []
            self._readable[constant.root] = tuple(alike)
        return self._readable[constant.root]

    def _named(self, constant: Constant) -> Optional[str]:
        """The name that a constant has in the checkpoint, of several the nearest to its reader."""
        return next((name for name in constant.names if name in self._stored), None)
