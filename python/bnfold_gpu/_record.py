"""What a trace writes down.

Stage:  between a run, or a walk through a graph, and the decision about each norm.
Out:    :class:`Record`: calls of layers, calls of norms, and who else read what.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import DefaultDict, Dict, List, Optional, Set, Tuple


@dataclass
class Call:
    """One call of a layer (or of a norm, whose outputs are followed, too). Its channels have the labels from `first` on."""

    kind: str
    """`conv`, `conv_transpose`, `linear`, or `norm`."""
    weight: Tuple[str, ...]
    """The names of the weight; for a norm, its own. Empty if the weight is no tensor of the checkpoint."""
    first: int
    channels: int
    groups: int = 1
    bias: Tuple[str, ...] = ()
    problem: Optional[str] = None
    """Why the layer cannot take a norm, whatever reads it."""
    problem_code: str = "computed"
    reads: List[str] = field(default_factory=list)
    """Operations, other than recognized norms, that read its output."""
    norms: Set[str] = field(default_factory=set)
    """Norms that read its output."""
    padded: bool = False

    def text(self) -> str:
        """What it is, for sentences."""
        if self.kind == "norm":
            return f"the norm {self.weight[0] if self.weight else '?'}"
        return self.weight[0] if self.weight else f"a {self.kind} whose weight is computed"


@dataclass(frozen=True)
class Seen:
    """One call of a norm: what was found in front of it."""

    call: Optional[int]
    """The layer's call that alone feeds it."""
    bias: Tuple[str, ...]
    """The bias that had been added by then."""
    eps: float
    code: str = ""
    reason: str = ""


@dataclass
class Record:
    """Everything a run has shown."""

    calls: List[Call] = field(default_factory=list)
    norms: Dict[str, List[Seen]] = field(default_factory=dict)
    readers: DefaultDict[str, List[str]] = field(default_factory=lambda: defaultdict(list))
    """By name of a tensor of the checkpoint: operations that read or wrote it otherwise than as a weight or a norm's."""
    followed_by: Dict[int, List[int]] = field(default_factory=dict)
    """By call of a norm: calls of unpadded layers that read its whole output, and nothing else before them."""
