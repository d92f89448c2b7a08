"""Decides about each norm.

Stage:  after the graph was followed.
In:     a :class:`Record` and the names of the weights. Out: a :class:`~bnfold_gpu.plans.Layer` for every norm.

A norm is folded only if in every one of its calls the same layer alone feeds it, channel by channel, and nothing else reads
the layer's output, its weight or its bias. Whatever is not proven stays, with the reason.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..plans import Layer
from ._layers import is_norm
from ._names import WeightNames, bias_beside
from ._record import Call, Record


class Refusal(NamedTuple):
    """Why a norm stays: a code, and a sentence."""

    code: str
    reason: str


def layers(record: Record, names: WeightNames, norm_layers: Dict[int, Any]) -> Tuple[Layer, ...]:
    """One layer for every norm of the checkpoint, by name; `norm_layers` are the layers that hold the running variances."""
    return tuple(_layer(norm, norm_layers.get(id(variance)), record, names) for norm, variance in sorted(names.norms().items()))


def _layer(norm: str, layer: Any, record: Record, names: WeightNames) -> Layer:
    refusal = _of_norm(layer, record, names) or _of_calls(layer, record, names)
    if refusal is not None:
        return Layer(norm, "keep", reason=refusal.reason, reason_code=refusal.code)
    call = record.norms[id(layer)][0].call
    assert call is not None
    (weight,) = names.of(call.weight)
    return Layer(
        norm,
        "fold",
        weight=weight,
        op=call.op,
        bias=names.of(call.bias)[0] if call.bias is not None else bias_beside(weight),
        bias_exists=call.bias is not None,
        channels=call.channels,
        groups=1,
        eps=float(layer.epsilon),
        eps_source="the model's layer",
        eps_code="plan",
        evidence=("the model's graph: this layer alone feeds the norm, and nothing else reads it",),
        evidence_codes=("traced",),
    )


def _of_norm(layer: Any, record: Record, names: WeightNames) -> Optional[Refusal]:
    """What speaks against folding a norm, whatever feeds it."""
    if layer is None or not is_norm(layer):
        kind = "none that is known" if layer is None else f"a {type(layer).__name__}, which is derived from BatchNormalization or like it"
        return Refusal("norm-read", f"the layer is {kind}, so that it may be more than a norm")
    readers = [reader for weight in layer.weights for reader in record.readers.get(id(weight), [])]
    if readers:
        return Refusal("norm-read", f"it is a part of {readers[0]}, whose inside is no graph of layers")
    seen = record.norms.get(id(layer))
    if not seen:
        return Refusal("not-run", "it is not called on the way from the model's inputs to its outputs")
    shared = next((names.of(weight) for weight in layer.weights if len(names.of(weight)) > 1), None)
    if shared:
        return Refusal("aliased", f"its weights stand under several names: {', '.join(shared)}; `checkpoint=` tells which one")
    if getattr(layer, "renorm", False) or len(layer.weights) > 4:
        return Refusal("norm-read", f"it holds more than a norm: {', '.join(weight.name for weight in layer.weights)}")
    refused = next((one for one in seen if one.call is None), None)
    return None if refused is None else Refusal(refused.code, refused.reason)


def _of_calls(layer: Any, record: Record, names: WeightNames) -> Optional[Refusal]:
    """What speaks against the layers in front of a norm."""
    found = [one.call for one in record.norms[id(layer)] if one.call is not None]
    call = found[0]
    if call.problem is not None:
        return Refusal("computed", f"{call.layer.name} feeds it, and {call.problem}")
    if len({id(one.weight) for one in found}) > 1:
        return Refusal("several-layers", f"several layers feed it in turn: {', '.join(sorted(one.layer.name for one in found))}")
    alike = [one for one in record.calls if one.weight is call.weight]
    for other in alike:
        if other.norms != {id(layer)}:
            others = [record.layers[norm].name for norm in other.norms - {id(layer)}]
            readers = sorted(others) or other.reads or ["nothing"]
            return Refusal("several-norms", f"{call.layer.name} feeds it, and is called again for {readers[0]}")
        if other.reads:
            return Refusal("read-twice", f"{call.layer.name} feeds it, and what it puts out is also read by {other.reads[0]}")
        if other.layer is not call.layer:
            return Refusal("several-layers", f"{call.layer.name} feeds it, and {other.layer.name} has the same weight")
    return _of_weights(call, record, names)


def _of_weights(call: Call, record: Record, names: WeightNames) -> Optional[Refusal]:
    stored = names.of(call.weight)
    if not names.all_of(call.weight):
        return Refusal("computed", f"{call.layer.name} feeds it, and its weight is computed")
    if len(stored) != 1:
        what = "is not in the checkpoint" if not stored else "is stored under several names"
        return Refusal("aliased", f"{call.layer.name} feeds it, and its weight {what}: {', '.join(names.all_of(call.weight))}")
    own: List[Any] = [call.weight, *([] if call.bias is None else [call.bias])]
    for weight in own:
        if record.readers.get(id(weight)):
            return Refusal("read-twice", f"{call.layer.name} feeds it, and {record.readers[id(weight)][0]} reads its {weight.name}, too")
    if call.bias is None:
        return None
    if names.of(call.bias) != (bias_beside(stored[0]),):
        return Refusal("computed", f"{call.layer.name} feeds it with a bias that is not stored beside {stored[0]}")
    sharing = [one.layer.name for one in record.calls if one.bias is call.bias and one.layer is not call.layer]
    return Refusal("aliased", f"{call.layer.name} feeds it, and shares its bias with {sharing[0]}") if sharing else None
