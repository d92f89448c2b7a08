"""The graph that Keras keeps of a model: which layer was called on what.

Stage:  ground; the only file here that knows the insides of Keras.
In:     a functional or sequential model. Out: its calls in the order in which they run.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import keras
from keras import tree
from keras.src.models.functional import Functional

Shape = Tuple[Optional[int], ...]


def graph_of(layer: Any) -> Optional[Any]:
    """The functional model that a layer is, or runs; None if it is no model whose graph is known."""
    if isinstance(layer, keras.Sequential):
        # None until it was built.
        inner = getattr(layer, "_functional", None)
        return inner if _is_plain(layer, keras.Sequential) else None
    return layer if isinstance(layer, Functional) and _is_plain(layer, Functional) else None


def _is_plain(model: Any, base: Any) -> bool:
    """Whether a model's class computes what its graph says, whatever else it adds to it."""
    return all(getattr(type(model), name) is getattr(base, name) for name in ("call", "__call__"))


def calls(graph: Any) -> Iterator[Any]:
    """The nodes of a functional model, each after those that it takes its inputs from. Each has an `operation`, `arguments`,
    `input_tensors` and `outputs`."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def filled_in(node: Any, tensors: Dict[int, Any]) -> Tuple[Sequence[Any], Dict[str, Any]]:
    """The arguments of a call, with other tensors for those that it was recorded with."""
    args, kwargs = node.arguments.fill_in(tensors)
    return args, dict(kwargs)


def training_of(node: Any) -> Optional[bool]:
    """Whether a call says by itself in which mode its layer runs."""
    # Layers that have modes take them after their inputs.
    stated = [node.arguments.kwargs.get("training"), *node.arguments.args[1:]]
    return next((one for one in stated if isinstance(one, bool)), None)


def takes_inputs_as(node: Any, graph: Any) -> bool:
    """Whether the tensors of a call are the inputs of the model that is called, in the same order."""
    if len(node.input_tensors) != len(graph.inputs) or len(node.arguments.args) < 1:
        return False
    given, expected = node.arguments.args[0], graph._inputs_struct
    if len(graph.inputs) == 1:
        return True
    plain = (list, tuple)
    return isinstance(given, plain) and isinstance(expected, plain) and len(given) == len(expected) == len(graph.inputs)


def inputs_like(graph: Any) -> Any:
    """New inputs, in the structure that the model takes."""

    def one(tensor: Any) -> Any:
        history = getattr(tensor, "_keras_history", None)
        layer = history.operation if history is not None else None
        optional = {"optional": True} if getattr(layer, "optional", False) else {}
        return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, sparse=tensor.sparse, name=tensor.name, **optional)

    return tree.map_structure(one, graph._inputs_struct)


def outputs_like(graph: Any, tensors: Dict[int, Any]) -> Any:
    """The outputs of a model that was rebuilt, in the structure of the original's."""
    return tree.map_structure(lambda tensor: tensors[id(tensor)], graph._outputs_struct)


def own_weights(layer: Any) -> List[Any]:
    """The weights that a layer holds by itself; seeds of random layers are none."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def sublayers(layer: Any) -> List[Any]:
    """The layers that a layer holds, within its graph and beside it."""
    held = list(layer._flatten_layers(include_self=False, recursive=False))
    if isinstance(layer, keras.Sequential):
        # What it runs holds the same layers again.
        return [one for one in held if one is not getattr(layer, "_functional", None)]
    return held
