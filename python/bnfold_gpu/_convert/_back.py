"""Writes a checkpoint as a state dict for `torch.load`.

Stage:  after folding, for programs that read `.pth`.
In:     a `.safetensors` file. Out: its tensors by name; names that `__metadata__` records as aliases share their tensors again.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Tuple

from safetensors import SafetensorError, safe_open

from ..errors import ConvertError
from ._files import write_whole
from ._torch import imported
from ._weights import is_mark


def write_back(source: Path, target: Path, force: bool) -> Tuple[int, Dict[str, str]]:
    """Writes the file; returns how many tensors are in it, and the aliases."""
    torch = imported()
    tensors, aliases = _read(source)
    tied = {alias: tensors[name] for alias, name in aliases.items()}
    state: Dict[str, Any] = OrderedDict(sorted({**tensors, **tied}.items()))
    write_whole(target, force, lambda path: _write(torch, state, path))
    return len(tensors), aliases


def _read(source: Path) -> Tuple[Dict[str, Any], Dict[str, str]]:
    try:
        with safe_open(source, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ConvertError(f"{source}: it cannot be read: {error}") from error
    named = ((alias, name) for alias, name in metadata.items() if name in tensors and alias not in tensors)
    return tensors, {alias: name for alias, name in named if not is_mark(alias, name)}


def _write(torch: Any, state: Dict[str, Any], path: Path) -> None:
    torch.save(state, path)
    again = torch.load(path, map_location="cpu", weights_only=True)
    same = again.keys() == state.keys() and all(_same(torch, again[name], state[name]) for name in state)
    if not same:
        raise ConvertError("what was written reads back otherwise; is the disk sound?")


def _same(torch: Any, one: Any, other: Any) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)))
