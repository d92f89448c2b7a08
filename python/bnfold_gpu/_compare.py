"""Holds the planner's answer, from names and values, against a trace.

Stage:  beside folding: what does the file alone tell?
In:     two plans for one checkpoint. Out: a :class:`Comparison`, contradictions first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from .plans import Layer, Plan

# The trace did not see the norm run: it can neither confirm nor refute.
_OPEN = ("not-run", "norm-read")
# The trace found the layer, and only doubts that the file can take the fold.
_FOUND = ("aliased",)


@dataclass(frozen=True)
class Contradiction:
    """A norm that the planner folds into a weight that does not feed it, or not alone."""

    norm: str
    planned: str
    traced: str


@dataclass(frozen=True)
class Comparison:
    """`same`: folded alike. `added`: only the trace folds them. `unseen`: only the planner does, and the trace cannot tell."""

    contradictions: Tuple[Contradiction, ...]
    other_eps: Tuple[str, ...]
    added: Tuple[str, ...]
    unseen: Tuple[str, ...]
    same: Tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"CONTRADICTION: {one.norm}: planned {one.planned}; traced {one.traced}" for one in self.contradictions]
        lines += [f"other eps: {text}" for text in self.other_eps]
        counts = f"{len(self.same)} norms folded alike, {len(self.added)} by the trace only, {len(self.unseen)} by names only"
        return "\n".join([*lines, f"{len(self.contradictions)} contradictions; {counts}"])


def compare(planned: Plan, traced: Plan) -> Comparison:
    """Compares what `bnfold_gpu.plan` made of a file with what `make_plan` made of its model."""
    contradictions: List[Contradiction] = []
    other_eps, added, unseen, same = [], [], [], []
    theirs = {layer.norm: layer for layer in planned}
    for layer in traced:
        other = theirs.get(layer.norm)
        if other is None or not other.is_fold:
            added += [layer.norm] if layer.is_fold else []
        elif layer.reason_code in _OPEN or layer.reason_code in _FOUND:
            unseen.append(layer.norm)
        elif _pair(layer) != _pair(other):
            contradictions.append(Contradiction(layer.norm, _text(other), _text(layer)))
        else:
            same.append(layer.norm)
            if other.eps != layer.eps:
                other_eps.append(f"{layer.norm}: {other.eps} by {other.eps_code}, {layer.eps} as it ran")
    return Comparison(tuple(contradictions), tuple(other_eps), tuple(added), tuple(unseen), tuple(same))


def _pair(layer: Layer) -> Tuple[object, ...]:
    # Only for transposed convolutions it matters where their channels lie.
    transposed = layer.op == "conv_transpose"
    return (layer.is_fold, layer.weight, transposed, layer.groups if transposed else 1)


def _text(layer: Layer) -> str:
    return f"{layer.weight} as {layer.op}" if layer.is_fold else f"stays: {layer.reason}"
