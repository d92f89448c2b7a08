"""`make_plan`: the exact plan of a checkpoint whose network is there as an ONNX graph.

Stage:  before folding.
In:     an ONNX model, and the `.safetensors` file that it was exported from. Out: a :class:`~bnfold_gpu.plans.Plan`.
"""

from __future__ import annotations

import os
from typing import Union

from .. import _safetensors
from .._judge import Source, layers
from ..errors import TraceError
from ..plans import Plan
from ._follow import Walker
from ._graph import read
from ._match import Checkpoint

PathLike = Union[str, "os.PathLike[str]"]

_SOURCE = Source(
    eps="the graph's attribute",
    evidence="the graph was followed: this layer alone feeds the norm, and nothing else reads it",
    code="graph",
    not_run="no BatchNormalization of the graph has its tensors: it was folded on export, or is not in what was exported",
)
_FUSED = (
    "has no BatchNormalization. Exporters fold norms unless they are told not to: torch.onnx.export(..., dynamo=True, "
    "optimize=False), or (..., dynamo=False, training=TrainingMode.PRESERVE, do_constant_folding=False) of a model in evaluation mode"
)


def make_plan(onnx_file: PathLike, safetensors_file: PathLike, *, same_values: bool = True) -> Plan:
    """Follows a graph and says, for every norm of the checkpoint, which weight feeds it, or why it has to stay.

    `safetensors_file` (or an index of shards, or a folder) holds what the graph was exported from. Initializers are found in it
    by name and values, and by values alone where names were changed. With `same_values=False` names and shapes are enough:
    for another training state of the same network, if the graph is as it was exported and no optimizer has been at it.

    Raises :class:`TraceError` if a file cannot be read, or if the graph has no norm of the checkpoint.
    """
    stored = _safetensors.read(safetensors_file, TraceError)
    graph = read(onnx_file, inline=True)
    checkpoint = Checkpoint(graph, stored, same_values)
    if not checkpoint.norms():
        raise TraceError(f"{os.fspath(safetensors_file)} has no norm: no tensor is named *.running_var")
    walk = Walker(graph, checkpoint).follow()
    nodes = [node for node in graph.nodes if node.op_type == "BatchNormalization"]
    if not nodes:
        raise TraceError(f"{os.fspath(onnx_file)} {_FUSED}")
    if all(one.code == "other-values" for seen in walk.record.norms.values() for one in seen):
        raise TraceError(
            f"none of the {len(nodes)} norms of {os.fspath(onnx_file)} has the tensors of one of the {len(checkpoint.norms())} in "
            f"{os.fspath(safetensors_file)}: name the checkpoint that it was exported from"
            + (", or take names alone with same_values=False" if same_values and walk.record.norms else "")
        )
    return Plan(layers(walk.record, checkpoint, _SOURCE))
