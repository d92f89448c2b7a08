"""What the weights of a model are called in a checkpoint.

Stage:  ground; used before folding and after it.
In:     a model. Out: :class:`WeightNames`: the name of every weight, by the layers it lies in.

A name is made of the names of layers, from the outermost down: `conv1/kernel`, `encoder/conv1/kernel` for a layer of the
model `encoder` inside. Keras' own `path` is not unique: two models with layers of the same names may stand in a third one.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set, Tuple, Type, Union

from ..errors import BnfoldError
from ._nodes import own_weights, sublayers

Renaming = Union[Mapping[str, str], Callable[[str], str], None]
_VARIANCE = re.compile(r"^(.*)/moving_variance(:0)?$")


class WeightNames:
    """The names of a model's weights, in the file: several where a layer stands in several models."""

    def __init__(
        self, model: Any, renaming: Renaming = None, in_file: Optional[Iterable[str]] = None, error: Type[BnfoldError] = BnfoldError
    ) -> None:
        self._file: Optional[Set[str]] = None if in_file is None else set(in_file)
        self.weights: Dict[int, Any] = {}
        self._names: Dict[int, List[str]] = {}
        paths: Dict[int, str] = {}
        by_layers: Dict[str, int] = {}
        for name, weight in _walk(model, ""):
            self.weights[id(weight)] = weight
            paths[id(weight)] = weight.path
            if by_layers.setdefault(name, id(weight)) != id(weight):
                raise error(f"{model.name} has two weights named {name}: give its layers names of their own")
        if renaming is None and self._has_paths(set(by_layers), paths):
            folders = {_folder(name): _folder(paths[key]) for name, key in by_layers.items()}
            renaming = partial(_moved, folders)
        self.renaming: Renaming = renaming
        """How the file calls what this package calls by the names of layers, also in a model that was rebuilt."""
        # In the order of names, so that it does not depend on the graph which one comes first.
        for name in sorted(by_layers):
            self._names.setdefault(by_layers[name], []).append(_renamed(name, renaming))

    def _has_paths(self, by_layers: Set[str], paths: Mapping[int, str]) -> bool:
        """Whether the file goes by Keras' paths, and these tell all weights apart."""
        if self._file is None or len(set(paths.values())) != len(paths):
            return False
        return len(by_layers & self._file) < len(set(paths.values()) & self._file)

    def of(self, weight: Any) -> Tuple[str, ...]:
        """All names of a weight that the file may have; none if it is no weight of the model."""
        names = self._names.get(id(weight), [])
        return tuple(name for name in names if self._file is None or name in self._file)

    def all_of(self, weight: Any) -> Tuple[str, ...]:
        """The same, whether the file has them or not."""
        return tuple(self._names.get(id(weight), ()))

    def items(self) -> List[Tuple[Tuple[str, ...], Any]]:
        """Every weight with all its names."""
        return [(self.all_of(weight), weight) for weight in self.weights.values()]

    def norms(self) -> Dict[str, Any]:
        """The norms that the file has, and their running variances."""
        found = {}
        for key, weight in self.weights.items():
            for name in self.of(weight)[:1]:
                norm = norm_of(name)
                if norm is not None:
                    found[norm] = weight
        return found


def norm_of(variance: str) -> Optional[str]:
    """The norm whose running variance is called so."""
    found = _VARIANCE.match(variance)
    return found.group(1) if found else None


def bias_beside(weight: str) -> str:
    """What the bias of a layer is called, by its weight."""
    return f"{weight.rpartition('/')[0]}/bias" + (":0" if weight.endswith(":0") else "")


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _moved(folders: Mapping[str, str], name: str) -> str:
    """The name by Keras' paths, also of a bias that is new."""
    return f"{folders.get(_folder(name), _folder(name))}/{name.rpartition('/')[2]}"


def _walk(layer: Any, prefix: str) -> Iterable[Tuple[str, Any]]:
    for weight in own_weights(layer):
        yield f"{prefix}{weight.name}", weight
    for inner in sublayers(layer):
        yield from _walk(inner, f"{prefix}{inner.name}/")


def _renamed(name: str, renaming: Renaming) -> str:
    if renaming is None:
        return name
    return renaming.get(name, name) if isinstance(renaming, Mapping) else renaming(name)
