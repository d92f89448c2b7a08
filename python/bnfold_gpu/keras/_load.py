"""`load_folded`: a model without the norms that were folded, with a folded file's weights.

Stage:  after folding.
In:     the original model, and a file of either style. Out: a new model; the original stays as it is.

All or nothing: the new model is given away only when every weight of the file has found its place, and every weight of the
model its value.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Set, Tuple, Union

from .._tensors import Folded, read
from ..errors import LoadError
from ._layers import kind_of
from ._names import WeightNames, bias_beside
from ._nodes import graph_of
from ._rebuild import Rebuild


def load_folded(model: Any, path: Union[str, "os.PathLike[str]"]) -> Any:
    """A new model from `model`, which is built as for the original, and a folded file (or an index of shards, or a folder).

    Norms that the file does not have any more have no place in the new graph, also within models inside and under
    `TimeDistributed`; layers that have a bias in the file get one; names are those of the original. Then everything is
    loaded strictly, and values are converted to the weights' types. Norms that stayed stay. The result is not compiled.

    Raises :class:`LoadError` if the file does not fit. `model` is never changed.
    """
    return load_tensors(model, read(path, "np"))


def load_tensors(model: Any, folded: Folded) -> Any:
    """The same, of tensors that were read."""
    if graph_of(model) is None:
        raise LoadError(f"{getattr(model, 'name', model)!r} has no graph: a functional model, or a sequential one that is built, is expected")
    names = WeightNames(model, in_file=folded.tensors, error=LoadError)
    rebuild = Rebuild(lambda norm: _is_gone(norm, names), lambda layer: _has_new_bias(layer, names, folded))
    made = rebuild.model(model)
    _check_count(folded, len(rebuild.folded), model)
    _assign(made, folded, names)
    return made


def _is_gone(norm: Any, names: WeightNames) -> bool:
    return not any(names.of(weight) for weight in norm.weights if weight.name == "moving_variance")


def _has_new_bias(layer: Any, names: WeightNames, folded: Folded) -> bool:
    kind = kind_of(layer)
    if kind is None or layer.use_bias:
        return False
    return any(bias_beside(name) in folded.tensors for name in names.of(getattr(layer, kind.weight)))


def _check_count(folded: Folded, gone: int, model: Any) -> None:
    """Refuses a file in which other norms are missing than those that were folded."""
    figures = folded.figures
    if figures is None or figures.get("style") != "strip" or not isinstance(figures.get("folded"), int):
        return
    if gone != figures["folded"]:
        raise LoadError(
            f"{folded.path} says that {figures['folded']} norms were folded away, and of the norms of {model.name} it lacks {gone}: it was "
            f"folded from another network, or layers have other names. {_ADVICE}"
        )


_ADVICE = (
    "Build the model as for the original checkpoint, with its norms. Keras numbers layers without names through a whole session: "
    "keras.backend.clear_session() before building starts anew"
)


def _assign(made: Any, folded: Folded, before: WeightNames) -> None:
    names = WeightNames(made, before.renaming, folded.tensors, LoadError)
    pairs: List[Tuple[Any, Any]] = []
    missing: List[str] = []
    shapes: List[str] = []
    used: Set[str] = set()
    for all_names, weight in names.items():
        found = names.of(weight)
        used.update(found)
        if not found:
            missing.append(all_names[0])
        elif tuple(folded.tensors[found[0]].shape) != tuple(weight.shape):
            shapes.append(f"{found[0]} is {list(folded.tensors[found[0]].shape)} there and {list(weight.shape)} here")
        else:
            pairs.append((weight, folded.tensors[found[0]]))
    problems = _sentences({
        "weights of the model are not in the file, such as": missing,
        "tensors of the file are not in the model, such as": [name for name in folded.tensors if name not in used],
        "have other shapes:": shapes,
    })
    if problems:
        raise LoadError(f"{folded.path} does not fit {made.name}: {'; '.join(problems)}. {_ADVICE}")
    for weight, value in pairs:
        weight.assign(value)


def _sentences(found: Dict[str, List[str]]) -> List[str]:
    return [f"{len(names)} {what} {', '.join(names[:3])}" for what, names in found.items() if names]
