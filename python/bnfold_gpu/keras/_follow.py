"""Follows the graph of a model.

Stage:  before anything is decided.
In:     a functional model. Out: a :class:`Record`.

The graph is run without numbers: a tensor is the channels of one layer's output along one axis, or nothing that is known.
Models inside are run wherever they are called; a layer that is called several times is recorded several times.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from ._layers import channel_axis, has_activation, is_join, is_norm, kind_of, moved_axis, name_of_class
from ._nodes import Shape, calls, graph_of, takes_inputs_as, training_of
from ._record import Call, Record, Seen, Value


def record_of(graph: Any) -> Record:
    """Everything the graph of a functional model shows."""
    record = Record()
    outputs = _Run(record).graph(graph, [Value(None) for _ in graph.inputs], None)
    for value in outputs:
        _read(value, "an output of the model")
    return record


class _Run:
    """One walk through a graph and the graphs in it."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def graph(self, graph: Any, inputs: Sequence[Value], training: Optional[bool]) -> List[Value]:
        """The outputs of a functional model."""
        values: Dict[int, Value] = {id(tensor): value for tensor, value in zip(graph.inputs, inputs)}
        for node in calls(graph):
            given = [values[id(tensor)] for tensor in node.input_tensors]
            before = [tuple(tensor.shape) for tensor in node.input_tensors]
            after = [tuple(tensor.shape) for tensor in node.outputs]
            stated = training_of(node)
            made = self._call(node, node.operation, given, before, after, training if stated is None else stated)
            values.update((id(tensor), value) for tensor, value in zip(node.outputs, made))
        return [values[id(tensor)] for tensor in graph.outputs]

    def _call(
        self, node: Any, layer: Any, given: List[Value], before: List[Shape], after: List[Shape], training: Optional[bool]
    ) -> List[Value]:
        inner = graph_of(layer)
        if inner is not None and takes_inputs_as(node, inner):
            return self.graph(inner, given, training)
        if len(given) == 1 and len(after) == 1:
            if name_of_class(layer) == "TimeDistributed":
                return self._each_step(node, layer.layer, given[0], before[0], after[0], training)
            if is_norm(layer):
                return [self._norm(layer, given[0], len(before[0]), bool(training) and layer.trainable)]
            if kind_of(layer) is not None:
                return [self._with_weight(layer, given[0], after[0])]
            moved = self._moved(layer, given[0], before[0], after[0], training)
            if moved is not None:
                return [moved]
        return self._unknown(layer, given, len(after))

    def _each_step(
        self, node: Any, layer: Any, given: Value, before: Shape, after: Shape, training: Optional[bool]
    ) -> List[Value]:
        """A layer that is run for each step along axis 1, which it does not see."""
        if given.call is not None and given.axis < 2:
            _read(given, f"steps through {given.call.layer.name}'s channels")
            given = Value(None, code="other-channels", origin=f"single channels of {given.call.layer.name}")
        shapes = [(before[0], *before[2:])], [(after[0], *after[2:])]
        made = self._call(node, layer, [given._replace(axis=given.axis - 1)], *shapes, training)
        return [one._replace(axis=one.axis + 1) for one in made]

    def _with_weight(self, layer: Any, given: Value, after: Shape) -> Value:
        _read(given, f"{layer.name}")
        kind = kind_of(layer)
        assert kind is not None
        weight, bias = getattr(layer, kind.weight), layer.bias if layer.use_bias else None
        axis = channel_axis(layer, len(after))
        call = Call(layer, kind.op, weight, bias, after[axis] or 0)
        if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
            call.problem = "its weight is computed from others: it is quantized, or has LoRA factors"
        self.record.calls.append(call)
        if has_activation(layer):
            _read(Value(call), f"the activation within {layer.name}")
            name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
            return Value(None, origin=f"the activation {name} within {layer.name}")
        return Value(call, axis, origin=layer.name)

    def _norm(self, layer: Any, given: Value, rank: int, by_batch: bool) -> Value:
        self.record.layers[id(layer)] = layer
        if given.call is not None:
            given.call.norms.add(id(layer))
        self.record.norms[id(layer)].append(_in_front(layer, given, rank, by_batch))
        return Value(None, code="behind-norm", origin=f"the norm {layer.name}")

    def _moved(self, layer: Any, given: Value, before: Shape, after: Shape, training: Optional[bool]) -> Optional[Value]:
        """What a layer makes of a tensor that does no more than move its elements."""
        if given.call is None:
            # The axis does not matter; what was in front stays what is in front.
            return given if before and moved_axis(layer, len(before) - 1, before, after, training) is not None else None
        axis = moved_axis(layer, given.axis, before, after, training)
        return None if axis is None else given._replace(axis=axis)

    def _unknown(self, layer: Any, given: Sequence[Value], count: int) -> List[Value]:
        what = f"{layer.name} ({type(layer).__name__})"
        for value in given:
            _read(value, what)
        # Operations that are no layers have none.
        for weight in getattr(layer, "weights", []):
            self.record.readers[id(weight)].append(what)
        if is_join(layer) and any(value.call is not None for value in given):
            parts = ", ".join(value.origin for value in given[:4])
            return [Value(None, code="several-inputs", origin=f"{what} of {parts}")] * count
        return [Value(None, origin=what)] * count


def _read(value: Value, reader: str) -> None:
    if value.call is not None:
        value.call.reads.append(reader)


def _in_front(layer: Any, given: Value, rank: int, by_batch: bool) -> Seen:
    if by_batch:
        return Seen(None, "batch-statistics", "it is called with training=True and normalizes by the statistics of its batch")
    if given.call is None:
        return Seen(None, given.code, f"in front of it stands {given.origin}")
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if [axis % rank for axis in axes] != [given.axis]:
        return Seen(None, "other-channels", f"it normalizes axis {layer.axis}, and {given.origin} has its channels on axis {given.axis}")
    return Seen(given.call)
