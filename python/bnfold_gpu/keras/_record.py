"""What is found while a graph is followed.

Stage:  between the graph and the decision about each norm.
Out:    :class:`Record`: calls of layers with weights, what stands in front of each norm, who else reads what.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, DefaultDict, Dict, List, NamedTuple, Optional, Set


@dataclass(eq=False)
class Call:
    """One call of a layer with a weight."""

    layer: Any
    op: str
    weight: Any
    bias: Optional[Any]
    channels: int
    problem: Optional[str] = None
    """Why the layer cannot take a norm, whatever reads it."""
    reads: List[str] = field(default_factory=list)
    """What reads its output, other than norms."""
    norms: Set[int] = field(default_factory=set)
    """The layers that are norms and read its output, by id."""


class Value(NamedTuple):
    """What is known of a tensor: the call whose channels it has along an axis, or why there is none."""

    call: Optional[Call]
    axis: int = 0
    code: str = "behind-operation"
    origin: str = "an input of the model"


class Seen(NamedTuple):
    """One call of a norm: the call that alone feeds it, or why there is none."""

    call: Optional[Call]
    code: str = ""
    reason: str = ""


@dataclass
class Record:
    """Everything a graph has shown, by the ids of layers and of weights."""

    calls: List[Call] = field(default_factory=list)
    norms: DefaultDict[int, List[Seen]] = field(default_factory=lambda: defaultdict(list))
    layers: Dict[int, Any] = field(default_factory=dict)
    readers: DefaultDict[int, List[str]] = field(default_factory=lambda: defaultdict(list))
    """Layers that are not looked into, by the weights that they hold."""
