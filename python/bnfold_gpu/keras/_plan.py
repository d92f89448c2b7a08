"""`make_plan`: the exact plan of a live model.

Stage:  before folding.
In:     a functional or sequential model. Out: a :class:`~bnfold_gpu.plans.Plan` for `fold(plan=...)` and `--plan`.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, Optional, Union

import keras

from ..errors import TraceError
from ..plans import Plan
from ._follow import record_of
from ._judge import layers
from ._names import Renaming, WeightNames
from ._nodes import graph_of, own_weights, sublayers

Checkpoint = Union[str, "os.PathLike[str]", Iterable[str], None]


def make_plan(model: Any, *, names: Renaming = None, checkpoint: Checkpoint = None) -> Plan:
    """Follows the graph of a model and says, for every norm, which weight feeds it, or why it has to stay.

    Nothing is run: Keras keeps the graph of functional and sequential models, and of those inside them. Weights are called
    as :func:`save` calls them, by the names of layers. `checkpoint`, a `.safetensors` file or the names in it, tells where
    it goes by Keras' `path`s instead, and which of several names of one weight is stored; `names` maps this package's names
    to those of the checkpoint, a mapping or a function.

    Raises :class:`TraceError` if the model has no graph (a subclassed model), is not built, or has no norm.
    """
    graph = _graph(model)
    known = WeightNames(model, names, _in_file(checkpoint), TraceError)
    if not known.norms():
        raise TraceError(f"{model.name} has no norm with moving statistics{' in the checkpoint' if checkpoint else ''}")
    return Plan(layers(record_of(graph), known, _holders(model)))


def _graph(model: Any) -> Any:
    if not isinstance(model, keras.Model):
        raise TraceError(f"a keras.Model is expected, found {type(model).__name__}")
    graph = graph_of(model)
    if graph is not None:
        return graph
    if isinstance(model, keras.Sequential):
        raise TraceError(f"{model.name} is not built: begin it with keras.Input, or call build() with the shape of its inputs")
    raise TraceError(
        f"{model.name} is a subclassed model ({type(model).__name__}), of which Keras knows no graph; a functional or sequential "
        "model is expected. bnfold_gpu.plan goes by the names and values of its checkpoint"
    )


def _holders(model: Any) -> Dict[int, Any]:
    """The layers that hold running variances, by these."""
    found: Dict[int, Any] = {}
    waiting = [model]
    while waiting:
        layer = waiting.pop()
        found.update((id(weight), layer) for weight in own_weights(layer) if weight.name == "moving_variance")
        waiting.extend(sublayers(layer))
    return found


def _in_file(checkpoint: Checkpoint) -> Optional[Iterable[str]]:
    if not isinstance(checkpoint, (str, os.PathLike)):
        return checkpoint
    from safetensors import safe_open

    with safe_open(os.fspath(checkpoint), framework="np") as file:
        return list(file.keys())
