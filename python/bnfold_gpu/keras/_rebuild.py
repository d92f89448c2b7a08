"""Builds a model anew without the norms that were folded.

Stage:  while a file is loaded.
In:     a functional or sequential model, and which of its weights the file has. Out: a new model with weights of its own;
        the original is not touched.

Every layer is made from its configuration, under its name. A folded norm has no place in the new graph: what it was given
goes to what read it. A layer whose bias is in the file gets one.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

import keras

from ..errors import LoadError
from ._layers import is_norm, kind_of, name_of_class
from ._nodes import calls, filled_in, graph_of, inputs_like, outputs_like, own_weights


class Rebuild:
    """One rebuilding; layers that stand in several places are made once."""

    def __init__(self, is_folded: Callable[[Any], bool], has_new_bias: Callable[[Any], bool]) -> None:
        self._is_folded, self._has_new_bias = is_folded, has_new_bias
        self._made: Dict[int, Any] = {}
        self.folded: Dict[int, Any] = {}
        """The norms that were left out, by id."""

    def model(self, model: Any) -> Any:
        """The model, anew."""
        made = self._sequential(model) if isinstance(model, keras.Sequential) else self._functional(model)
        if not model.trainable:
            made.trainable = False
        return made

    def _sequential(self, model: Any) -> Any:
        graph: Any = graph_of(model)
        layers = [self._layer(layer) for layer in model.layers if not self._goes(layer)]
        return keras.Sequential([inputs_like(graph), *layers], name=model.name)

    def _functional(self, model: Any) -> Any:
        graph: Any = graph_of(model)
        inputs = inputs_like(graph)
        tensors = {id(old): new for old, new in zip(graph.inputs, keras.tree.flatten(inputs))}
        for node in calls(graph):
            args, kwargs = filled_in(node, tensors)
            made = self._call(node.operation, args, kwargs)
            tensors.update((id(old), new) for old, new in zip(node.outputs, keras.tree.flatten(made)))
        return keras.Model(inputs, outputs_like(graph, tensors), name=model.name)

    def _call(self, layer: Any, args: Sequence[Any], kwargs: Dict[str, Any]) -> Any:
        if not self._goes(layer):
            return self._layer(layer)(*args, **kwargs)
        return args[0] if args else kwargs["inputs"]

    def _goes(self, layer: Any) -> bool:
        """Whether a layer is a norm that was folded, or nothing but such a norm for each step."""
        if name_of_class(layer) == "TimeDistributed":
            return self._goes(layer.layer)
        if not any(weight.name == "moving_variance" for weight in _held(layer)) or not self._is_folded(layer):
            return False
        if not is_norm(layer):
            raise LoadError(
                f"{layer.name} was folded, and its class {type(layer).__name__} is not Keras' own, so that it may do more than normalize; "
                "fold with style='drop-in'"
            )
        self.folded[id(layer)] = layer
        return True

    def _layer(self, layer: Any) -> Any:
        if id(layer) not in self._made:
            try:
                self._made[id(layer)] = self._new(layer)
            except LoadError:
                raise
            except Exception as error:
                raise LoadError(
                    f"{layer.name} ({type(layer).__name__}) cannot be made anew from its configuration: {error}; "
                    "give its class get_config() and from_config(), or fold with style='drop-in'"
                ) from error
        return self._made[id(layer)]

    def _new(self, layer: Any) -> Any:
        if graph_of(layer) is not None:
            return self.model(layer)
        if name_of_class(layer) == "TimeDistributed":
            return keras.layers.TimeDistributed(
                self._layer(layer.layer), name=layer.name, dtype=layer.dtype_policy, trainable=layer.trainable
            )
        config = layer.get_config()
        if kind_of(layer) is not None and self._has_new_bias(layer):
            config["use_bias"] = True
        # The code of a lambda comes from the model itself, and not out of a file.
        trusted = {"safe_mode": False} if name_of_class(layer) == "Lambda" else {}
        return type(layer).from_config(config, **trusted)


def _held(layer: Any) -> List[Any]:
    return own_weights(layer) if isinstance(layer, keras.layers.Layer) else []
