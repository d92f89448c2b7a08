"""What every reader gives to the writer.

Stage:  between reading and writing.
In:     tensors of one library. Out: :class:`Weights`, of which names that globs match can be left out.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ..errors import ConvertError


@dataclass(frozen=True)
class Weights:
    """Tensors by name: those of PyTorch if `is_torch`, else arrays of NumPy.

    `format` is what loaders find in the checkpoint's metadata, `None` where nobody knows which framework the weights are of;
    `aliases` are further names of tensors, `marks` entries of the same form that make the planner leave a tensor alone (see
    :func:`mark`); `unnamed` are norms' variables that nothing tells apart, so that they keep their numbers.
    """

    kind: str
    tensors: Dict[str, Any]
    is_torch: bool
    format: Optional[str]
    key: Optional[str] = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    left_out: Tuple[str, ...] = ()
    unnamed: Tuple[str, ...] = ()

    def without(self, globs: Sequence[str]) -> Weights:
        """The same without the tensors whose names match; ConvertError for a glob that matches nothing."""
        unused = [glob for glob in globs if not fnmatch.filter(self.tensors, glob)]
        if unused:
            raise ConvertError(
                f"leave_out={unused[0]!r} matches no tensor; names are such as {', '.join(list(self.tensors)[:3])}"
            )
        gone = [name for name in self.tensors if any(fnmatch.fnmatchcase(name, glob) for glob in globs)]
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in gone}
        return dataclasses.replace(self, tensors=kept, left_out=(*self.left_out, *gone))


def mark(name: str, why: str) -> Tuple[str, str]:
    """An entry of `__metadata__` that reads as one more name of a tensor, and says why it must stay as it is."""
    return f"{name} ({why})", name


def is_mark(alias: str, name: str) -> bool:
    """Whether an alias is none, but a mark."""
    return alias.startswith(f"{name} (")
