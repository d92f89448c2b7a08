"""Finds the state dict in what a training script saved.

Stage:  reading, after `torch.load`.
In:     a mapping, with state dicts at any depth. Out: one of them: the only one, or that which `key=` names.

What counts is what is inside, not how it is called: the state of an optimizer is told by its `param_groups`, and a state dict
by a tensor of floating-point numbers that has dimensions. Where there are several (weights and their moving average, two
networks), they are others' weights, and only the owner knows which are meant.
"""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

from ..errors import ConvertError, SeveralStateDicts
from ._results import listed

SEPARATOR = "/"
# Deeper than any script nests, and shallow enough for a hostile file.
_DEPTH = 8


@dataclass(frozen=True)
class Chosen:
    """A state dict, the key that names it (none at the top), and names of what is not in it."""

    key: Optional[str]
    tensors: Dict[str, Any]
    left_out: Tuple[str, ...]


def choose(path: Path, loaded: Any, key: Optional[str]) -> Chosen:
    """The state dict that is meant; SeveralStateDicts if that cannot be told."""
    from ._torch import tensors_of

    if not isinstance(loaded, AnyMapping):
        raise ConvertError(
            f"{path}: a state dict is expected, or a mapping that holds one, and it holds a {type(loaded).__name__}; save "
            "model.state_dict() instead"
        )
    tables = {name: (found, tensors_of(found)) for name, found in _mappings(loaded, "", 0) if tensors_of(found)}
    likely = {name: tensors for name, (_, tensors) in tables.items() if _is_of_a_model(tensors)}
    if key is not None:
        if key not in tables:
            raise SeveralStateDicts(f"{path}: no entry {key!r} holds tensors. {_advice(tables)}", list(tables))
        name = key
    elif len(likely) == 1:
        name = next(iter(likely))
    elif not likely:
        raise SeveralStateDicts(f"{path}: nothing in it looks like weights. {_advice(tables)}", list(tables))
    else:
        said = f"{path}: it holds {len(likely)} state dicts, and which is meant only you know. "
        raise SeveralStateDicts(said + _advice({name: tables[name] for name in likely}), list(likely))
    found, tensors = tables[name]
    beside = [str(one) for one in found if one not in tensors]
    if name:
        beside = [*(str(one) for one in loaded if str(one) != name.split(SEPARATOR)[0]), *beside]
    return Chosen(name or None, tensors, tuple(beside))


def _mappings(found: Any, name: str, depth: int) -> Iterator[Tuple[str, Any]]:
    """All mappings with their places, but for the state of optimizers; those in lists or under numbers belong to such."""
    yield name, found
    if depth == _DEPTH or "param_groups" in found:
        return
    for key, value in found.items():
        if isinstance(key, str) and isinstance(value, AnyMapping):
            yield from _mappings(value, f"{name}{SEPARATOR}{key}" if name else key, depth + 1)


def _is_of_a_model(tensors: Dict[str, Any]) -> bool:
    """No states of random generators (bytes), and no losses (without dimensions)."""
    return any(tensor.is_floating_point() and tensor.dim() > 0 for tensor in tensors.values())


def _advice(tables: Dict[str, Any]) -> str:
    if not tables:
        return "It holds no tensors"
    each = (f"{name or '(the top level)'} ({len(tensors)} tensors)" for name, (_, tensors) in tables.items())
    top = "; key='' (--key '') takes the top level" if "" in tables else ""
    return f"Choose with key= (--key) among {listed(tuple(each), 12)}{top}"
