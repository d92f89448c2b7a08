"""Decides about each norm.

Stage:  after a model was run, or its graph was followed.
In:     a :class:`Record` and the names of the checkpoint. Out: a :class:`~bnfold_gpu.plans.Layer` for every norm.

A norm is folded only if in every one of its calls the same layer alone feeds it, channel by channel, and nothing else reads
the layer's output, its weight or its bias. Whatever is not proven stays, with the reason.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Protocol, Tuple

from ._record import Call, Record, Seen
from .plans import Layer

PARTS = ("weight", "bias", "running_mean", "running_var")
"""The tensors of a norm, below its path."""


class Names(Protocol):
    """The tensors of a checkpoint, as far as it has to be known which of them are the same."""

    def norms(self) -> Iterable[str]:
        """The paths of the norms that are to be decided about."""
        ...

    def known(self, name: str) -> bool:
        """Whether the model has a tensor of this name."""
        ...

    def has(self, name: str) -> bool:
        """Whether the model or the checkpoint has a tensor of this name."""
        ...

    def rank(self, name: str) -> int:
        """The number of dimensions of a tensor that is known."""
        ...

    def in_file(self, names: Iterable[str]) -> Tuple[str, ...]:
        """Those of the names that the checkpoint has."""
        ...

    def overlapping(self, name: str) -> FrozenSet[str]:
        """Other names of the same elements."""
        ...


class Source(NamedTuple):
    """What a record was made from, in the words of plans and reasons."""

    eps: str
    evidence: str
    code: str
    not_run: str


class Refusal(NamedTuple):
    """Why a norm stays: a code, and a sentence."""

    code: str
    reason: str


def layers(record: Record, names: Names, source: Source) -> Tuple[Layer, ...]:
    """One layer for every norm of the checkpoint, by name."""
    by_weight: Dict[str, List[int]] = {}
    for place, call in enumerate(record.calls):
        if call.kind != "norm":
            for weight in call.weight:
                by_weight.setdefault(weight, []).append(place)
    return tuple(_layer(norm, record, names, by_weight, source) for norm in sorted(names.norms()))


def _layer(norm: str, record: Record, names: Names, by_weight: Dict[str, List[int]], source: Source) -> Layer:
    refusal = _of_norm(norm, record, names, source) or _of_calls(norm, record, names, by_weight)
    if refusal is not None:
        return Layer(norm, "keep", reason=refusal.reason + _forward(norm, record), reason_code=refusal.code)
    seen = record.norms[norm][0]
    assert seen.call is not None
    call = record.calls[seen.call]
    (weight,) = names.in_file(call.weight)
    bias = names.in_file(call.bias)
    return Layer(
        norm,
        "fold",
        weight=weight,
        op=call.kind if call.kind == "conv_transpose" else "conv" if names.rank(call.weight[0]) > 2 else "linear",
        bias=bias[0] if bias else _bias_beside(weight),
        bias_exists=bool(bias),
        channels=call.channels,
        groups=call.groups,
        eps=seen.eps,
        eps_source=source.eps,
        eps_code="plan",
        evidence=(source.evidence,),
        evidence_codes=(source.code,),
    )


def _of_norm(norm: str, record: Record, names: Names, source: Source) -> Optional[Refusal]:
    """What speaks against folding a norm, whatever feeds it."""
    seen = record.norms.get(norm)
    own = [f"{norm}.{part}" for part in PARTS if names.known(f"{norm}.{part}")]
    readers = [f"{reader} reads {name}" for name in own for reader in record.readers.get(name, [])]
    if readers:
        return Refusal("norm-read", f"{readers[0]}, so that the norm is more than a norm, or none that is known")
    if not seen:
        return Refusal("not-run", source.not_run)
    shared = sorted({other for name in own for other in names.overlapping(name)})
    if names.in_file(shared):
        return Refusal("aliased", f"its tensors are stored as {names.in_file(shared)[0]}, too")
    if len({one.eps for one in seen}) > 1:
        return Refusal("several-eps", f"it is run with several eps: {sorted({one.eps for one in seen})}")
    refused = next((one for one in seen if one.call is None), None)
    return None if refused is None else Refusal(refused.code, refused.reason)


def _of_calls(norm: str, record: Record, names: Names, by_weight: Dict[str, List[int]]) -> Optional[Refusal]:
    """What speaks against the layers that were found in front of a norm."""
    seen = record.norms[norm]
    calls = [record.calls[one.call] for one in seen if one.call is not None]
    problem = next((call for call in calls if call.problem), None)
    if problem is not None:
        return Refusal(problem.problem_code, f"{problem.text()} feeds it, and {problem.problem}")
    weights = {call.weight for call in calls}
    if len(weights) > 1:
        return Refusal("several-layers", f"several layers feed it in turn: {', '.join(sorted(call.text() for call in calls))}")
    return _of_layer(norm, calls[0], seen, record, names, by_weight)


def _of_layer(
    norm: str, call: Call, seen: List[Seen], record: Record, names: Names, by_weight: Dict[str, List[int]]
) -> Optional[Refusal]:
    weight = call.weight[0]
    stored = names.in_file(call.weight)
    overlapping = names.in_file(sorted(names.overlapping(weight)))
    if len(stored) != 1 or [name for name in overlapping if name != stored[0]]:
        others = ", ".join(sorted({*call.weight, *overlapping}))
        what = "is not in the checkpoint under a name of its own" if not stored else "is stored under several names"
        return Refusal("aliased", f"{weight} feeds it, and {what}: {others}")
    if not f".{stored[0]}".endswith(".weight"):
        return Refusal("no-layer", f"{stored[0]} feeds it, and is not named as a layer's weight is")
    for place in by_weight[weight]:
        other = record.calls[place]
        if other.norms != {norm}:
            readers = sorted(other.norms - {norm}) or other.reads or ["nothing"]
            return Refusal("several-norms", f"{weight} feeds it, and is run again for {readers[0]}")
        if other.reads:
            return Refusal("read-twice", f"{weight} feeds it, and what it puts out is also read by {other.reads[0]}")
        if (other.kind, other.groups, other.channels, other.bias) != (call.kind, call.groups, call.channels, call.bias):
            return Refusal("several-layers", f"{weight} feeds it, and is run in several ways")
    if any(one.bias != call.bias for one in seen):
        return Refusal("read-twice", f"{weight} feeds it before and after its bias is added")
    return _of_parameters(weight, call, record, names, by_weight)


def _of_parameters(
    weight: str, call: Call, record: Record, names: Names, by_weight: Dict[str, List[int]]
) -> Optional[Refusal]:
    for name in (*call.weight, *call.bias):
        if record.readers.get(name):
            return Refusal("read-twice", f"{weight} feeds it, and {record.readers[name][0]} reads {name}, too")
    if not call.bias:
        beside = _bias_beside(names.in_file(call.weight)[0])
        return Refusal("computed", f"{weight} feeds it without the bias {beside} beside it") if names.has(beside) else None
    stored = names.in_file(call.bias)
    sharing = {other for other, places in by_weight.items() if other not in call.weight and any(
        set(record.calls[place].bias) & set(call.bias) for place in places)}
    if stored != (_bias_beside(names.in_file(call.weight)[0]),) or names.in_file(sorted(names.overlapping(call.bias[0]))):
        return Refusal("computed", f"{weight} feeds it with a bias that is not stored beside it: {', '.join(call.bias)}")
    return Refusal("aliased", f"{weight} feeds it, and shares its bias with {sorted(sharing)[0]}") if sharing else None


def _bias_beside(weight: str) -> str:
    return weight[: -len("weight")] + "bias"


def _forward(norm: str, record: Record) -> str:
    """What a norm that stays could be folded into instead: the only reader of its output, an unpadded layer."""
    own = [call for call in record.calls if call.kind == "norm" and call.weight == (norm,)]
    if len(own) != 1 or len(own[0].reads) != 1:
        return ""
    after = record.followed_by.get(own[0].first, [])
    return f"; it could be folded forward, into {record.calls[after[0]].text()}" if len(after) == 1 else ""
