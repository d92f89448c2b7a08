"""Reads a checkpoint, and tells the network's variables from everything else in it.

Stage:  before folding.
In:     the prefix of a checkpoint. Out: :class:`Variables`.

A checkpoint of TensorFlow 1 (`tf.compat.v1.train.Saver`) has the names of variables. One of TensorFlow 2
(`tf.train.Checkpoint`, `save_weights`) has the ways to its objects, which say nothing of layers, and a graph of these objects
with the names that its variables had: those are taken. What optimizers keep is no part of the network.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Set, Union

import numpy
import tensorflow

from ..errors import CheckpointError

PathLike = Union[str, "os.PathLike[str]"]
AVERAGE = "/ExponentialMovingAverage"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass
class Variables:
    """The tensors of a checkpoint, by name."""

    network: Dict[str, Any] = field(default_factory=dict)
    """What the program is given: floating-point variables."""
    averages: Dict[str, Any] = field(default_factory=dict)
    """Moving averages of them, by the name of the variable."""
    beside: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    """What optimizers and others keep for a variable, by its name."""
    others: Dict[str, Any] = field(default_factory=dict)
    """Counters, strings."""
    left_out: List[str] = field(default_factory=list)
    """Keys of optimizers, which a checkpoint by names cannot hold."""


def prefix_of(path: PathLike) -> str:
    """The prefix of a checkpoint: as it is, of one of its files, or of the last one in a folder."""
    prefix = os.fspath(path)
    if prefix.endswith(".index"):
        prefix = prefix[: -len(".index")]
    if os.path.isdir(prefix):
        prefix = tensorflow.train.latest_checkpoint(prefix) or prefix
    if not os.path.isfile(f"{prefix}.index"):
        raise CheckpointError(f"{prefix}.index is no file: the prefix of a checkpoint is expected, such as model.ckpt-1000")
    return prefix


def variables_of(prefix: str) -> Variables:
    """Everything in a checkpoint."""
    try:
        reader = tensorflow.train.load_checkpoint(prefix)
        keys = sorted(reader.get_variable_to_shape_map())
        tensors = {key: reader.get_tensor(key) for key in keys}
    except MemoryError:
        raise
    except Exception as error:  # What is wrong with a file, TensorFlow says with exceptions of any kind, IndexError among them.
        raise CheckpointError(f"{prefix}: the checkpoint cannot be read: {error}") from error
    if _GRAPH in tensors:
        return _by_objects(prefix, tensors)
    return _sorted_out(tensors)


def _by_objects(prefix: str, tensors: Dict[str, Any]) -> Variables:
    """A checkpoint of TensorFlow 2, by the names of its variables."""
    names = _names_of_variables(tensors.pop(_GRAPH))
    count = Counter(names.values())
    twice = sorted({name for key, name in names.items() if count[name] > 1 and _is_weight(tensors.get(key))})
    if twice or not all(names[key] for key in names if _is_weight(tensors.get(key))):
        what = f"several variables named {twice[0]}" if twice and twice[0] else "variables without names"
        raise CheckpointError(
            f"{prefix} has {what}, so that names do not tell them apart: restore it into its model, then bnfold_gpu.keras.save and "
            "make_plan name every weight by the layers that it lies in"
        )
    named = {name if count[name] == 1 else key: tensors[key] for key, name in names.items() if key in tensors}
    found = _sorted_out(named)
    found.left_out = sorted(key for key in tensors if key not in names)
    return found


def _is_weight(tensor: Any) -> bool:
    return tensor is not None and str(tensor.dtype) in _FLOATS and tensor.ndim > 0


def _names_of_variables(serialized: bytes) -> Dict[str, str]:
    """The names of variables by their keys, those of optimizers left out."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph.FromString(serialized)
    slots = {slot.slot_variable_node_id for node in graph.nodes for slot in node.slot_variables}
    seen: Set[int] = set()
    waiting = [0]
    while waiting:
        place = waiting.pop()
        if place not in seen and place not in slots and not _is_optimizer(graph.nodes[place]):
            seen.add(place)
            waiting.extend(child.node_id for child in graph.nodes[place].children)
    attributes = [one for place in seen for one in graph.nodes[place].attributes]
    return {one.checkpoint_key: one.full_name for one in attributes}


def _is_optimizer(node: Any) -> bool:
    children = {child.local_name.lstrip("_") for child in node.children}
    return bool(node.slot_variables) or (bool(children & {"iter", "iterations"}) and bool(children & {"learning_rate", "variables"}))


def _sorted_out(tensors: Dict[str, Any]) -> Variables:
    found = Variables()
    for name, tensor in tensors.items():
        # No variable lies in the scope of another, but for what is kept for it.
        owner = _owner(name, tensors)
        if owner is not None and name == owner + AVERAGE:
            found.averages[owner] = tensor
        elif owner is not None:
            found.beside.setdefault(owner, {})[name] = tensor
        elif isinstance(tensor, numpy.ndarray) and _is_weight(tensor):
            found.network[name] = tensor
        else:
            found.others[name] = tensor
    return found


def _owner(name: str, names: Iterable[str]) -> Any:
    """The variable that a name begins with."""
    parts = name.split("/")
    scopes = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return next((scope for scope in scopes if scope in names), None)
