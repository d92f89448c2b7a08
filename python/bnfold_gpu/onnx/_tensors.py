"""Takes the tensors of a plan out of a graph.

Stage:  before folding.
In:     a graph and the layers of a plan. Out: tensors for a `.safetensors` file.
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import numpy

from .._judge import PARTS
from ..plans import Layer
from ._follow import Walk
from ._graph import Bits, Graph
from ._own import Own


def tensors_of(graph: Graph, own: Own, walk: Walk, layers: Sequence[Layer]) -> Dict[str, Tuple[str, Tuple[int, ...], bytes]]:
    """The tensors that a plan needs, by the names that it has for them, output channels first."""
    tensors: Dict[str, Tuple[str, Tuple[int, ...], bytes]] = {}

    def add(name: str, root: str, bits: Bits) -> None:
        tensors[name] = (graph.dtype(root) or "", bits.shape, numpy.ascontiguousarray(bits).tobytes())

    for layer in layers:
        assert layer.weight is not None and layer.bias is not None
        root = own.roots[layer.weight]
        bits = graph.bits(root)
        add(layer.weight, root, bits.T if own.turned[layer.weight] else bits)
        calls = zip(walk.record.calls, walk.sites)
        constant = next(site.constant for call, site in calls if site is not None and call.weight == (layer.weight,))
        if constant is not None:
            add(layer.bias, constant.root, graph.bits(constant.root).reshape(-1))
        for part, value in zip(PARTS, own.norm_nodes[layer.norm].parts):
            root = graph.constants[value].root
            add(f"{layer.norm}.{part}", root, graph.bits(root).reshape(-1))
    return tensors
