"""Which norm of a checkpoint a node is.

Stage:  while a graph is matched with a checkpoint.
In:     a :class:`NormNode`. Out: the paths of the norms that it may be, if there are several with the reason why none is sure.
"""

from __future__ import annotations

import ast
from typing import Any, FrozenSet, List, Mapping, Sequence, Set

from .._judge import PARTS
from .._safetensors import Stored
from ._contents import Contents
from ._follow import Found
from ._graph import Constant, Graph
from ._layers import NormNode

STATISTIC = ".running_var"
# Bits of 1 and 0: what a norm without scale or shift is exported with.
_NEUTRAL = {
    "weight": {"F64": 0x3FF0000000000000, "F32": 0x3F800000, "F16": 0x3C00, "BF16": 0x3F80},
    "bias": {"F64": 0, "F32": 0, "F16": 0, "BF16": 0},
}


class Norms:
    """The norms of a checkpoint. `placed` are those that were found in the graph."""

    def __init__(self, graph: Graph, stored: Mapping[str, Stored], contents: Contents, same_values: bool) -> None:
        self._graph, self._stored, self._contents, self._same_values = graph, stored, contents, same_values
        self.paths: List[str] = [name[: -len(STATISTIC)] for name in stored if name.endswith(STATISTIC)]
        self.placed: Set[str] = set()

    def at(self, norm: NormNode) -> Found:
        """The norms that a node may be; none if it is none of the checkpoint, so that nothing is known of it."""
        parts = [self._graph.constants.get(value) for value in norm.parts]
        known = [part for part in parts if part is not None and self._graph.dtype(part.root) is not None]
        if len(known) != len(parts):
            return Found(())
        named = [path for path in self.paths if path + STATISTIC in known[3].names]
        candidates = self._alike(known) if self._same_values else [path for path in named if self._is_named(path, known)]
        if not candidates:
            what = "its tensors have other values in the checkpoint, or other names, types or shapes"
            return Found(tuple(named), what, "other-values")
        found = _told_apart(norm, candidates, named)
        self.placed.update(found)
        if len(found) == 1:
            return Found((found[0],))
        several = ", ".join(found[:4])
        return Found(tuple(found), f"{several} have the same values, and nothing tells which of them runs there", "ambiguous")

    def _alike(self, parts: Sequence[Constant]) -> List[str]:
        """The norms that have the values of these parts, all four."""
        statistics = self._equal_to(parts[3])
        alike = [path for path in self.paths if path + STATISTIC in statistics]
        for name, part in list(zip(PARTS, parts))[:3]:
            present = self._equal_to(part) if alike else ()
            alike = [path for path in alike if f"{path}.{name}" in present or self._is_left_out(path, name, part)]
        return alike

    def _equal_to(self, part: Constant) -> FrozenSet[str]:
        return frozenset(self._contents.find(self._graph.bits(part.root), self._graph.dtype(part.root)))

    def _is_named(self, path: str, parts: Sequence[Constant]) -> bool:
        """Whether all four parts have the names and shapes of this norm's."""
        for name, part in zip(PARTS, parts):
            full = f"{path}.{name}"
            if not self._is_left_out(path, name, part) and not (full in part.names and self._stored[full].shape == part.shape):
                return False
        return True

    def _is_left_out(self, path: str, name: str, part: Constant) -> bool:
        """Whether the norm has no such tensor, and the graph has a scale of 1 or a shift of 0 in its place."""
        if f"{path}.{name}" in self._stored or name not in _NEUTRAL:
            return False
        return bool((self._graph.bits(part.root) == _NEUTRAL[name][self._graph.dtype(part.root) or ""]).all())


def _told_apart(norm: NormNode, candidates: List[str], named: List[str]) -> List[str]:
    """Of norms with the same values, the one that the exporter wrote down: as the node's module, or in its tensors' names."""
    scopes = _scopes(norm.node)
    for telling in (scopes, named):
        told = [path for path in candidates if path in telling]
        if len(told) == 1:
            return told
    return candidates


def _scopes(node: Any) -> List[str]:
    """The modules that a node comes from, as PyTorch's exporter writes them down."""
    text = next((one.value for one in getattr(node, "metadata_props", ()) if one.key == "pkg.torch.onnx.name_scopes"), "[]")
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    return [one for one in scopes if isinstance(one, str)] if isinstance(scopes, list) else []
