"""Reads the tensors of a folded model.

Stage:  before loading.
In:     a `.safetensors` file, an index of a sharded model, or a folder that holds one of these.
Out:    :class:`Folded`: its tensors, and what the program wrote about itself; :class:`LoadError` if it cannot be read.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Union

from safetensors import SafetensorError, safe_open

from ._safetensors import parts
from .errors import LoadError

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Folded:
    """A folded model: its tensors by name, and the figures that the program left, if it did."""

    path: Path
    tensors: Dict[str, Any]
    figures: Optional[Mapping[str, Any]]


def read(path: PathLike, framework: str) -> Folded:
    """All tensors, in memory, before anything is done with them; `framework` is the `safetensors` library's, `"pt"` or `"np"`."""
    place = Path(path)
    tensors: Dict[str, Any] = {}
    figures: Optional[Mapping[str, Any]] = None
    for part in parts(place, LoadError):
        try:
            with safe_open(os.fspath(part), framework=framework) as file:
                tensors.update((key, file.get_tensor(key)) for key in file.keys())
                figures = figures or _figures(file.metadata() or {})
        except (OSError, SafetensorError) as error:
            raise LoadError(f"{part}: {error}; fold the model again") from error
    return Folded(place, tensors, figures)


def _figures(metadata: Mapping[str, str]) -> Optional[Mapping[str, Any]]:
    try:
        figures = json.loads(metadata.get("bnfold-gpu.figures", "null"))
    except ValueError:
        return None
    return figures if isinstance(figures, dict) else None
