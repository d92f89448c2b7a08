"""Names for variables that Keras stores by number.

Stage:  reading `.keras` and `.weights.h5`.
In:     groups of HDF5 (`layers/conv2d_1/vars/0`), and the model's configuration where the file has it.
Out:    a name for every variable: its path in Keras (`stem/conv/kernel`) where its layer's class is known, else its place.

A layer's class is told by the configuration, or else by the group: Keras calls the groups of a list of layers, and layers
that were given no name, after their classes. A group that could be read in two ways (a norm of three variables without a
configuration has either scale or shift) keeps its numbers, and the planner does not take it for a norm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
# Classes, and their variables in the order in which Keras makes them; an option that is off takes away its own.
_KERNELS = {f"Conv{rank}D{kind}": ("kernel", "bias") for rank in (1, 2, 3) for kind in ("", "Transpose")}
_VARIABLES: Dict[str, Tuple[str, ...]] = {
    **_KERNELS,
    "Dense": ("kernel", "bias"),
    "DepthwiseConv1D": ("kernel", "bias"),
    "DepthwiseConv2D": ("kernel", "bias"),
    "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"),
    "GroupNormalization": ("gamma", "beta"),
    "Embedding": ("embeddings",),
}
_OPTIONS = {"bias": "use_bias", "gamma": "scale", "beta": "center"}


@dataclass(frozen=True)
class Named:
    """A variable: its name, its place in the file (with the variable's name where that is known), and its dataset.

    `open` says that it is a norm's, and that nothing tells which of its variables.
    """

    name: str
    place: str
    dataset: Any
    open: bool = False


@dataclass(frozen=True)
class _Layer:
    """What is known of the layer of a group. `options` is None where there is no configuration."""

    kind: Optional[str]
    name: str
    options: Optional[Mapping[str, Any]]


def named(file: Any, config: Optional[Mapping[str, Any]]) -> List[Named]:
    """All variables but the optimizer's."""
    root = _described(config, "") if config else _Layer(None, "", None)
    return [one for one in _walk(file, root, (), "") if not one.place.startswith("optimizer/")]


def _walk(group: Any, layer: _Layer, scope: Tuple[str, ...], place: str) -> Iterator[Named]:
    for key, child in group.items():
        if key == "vars":
            yield from _variables(child, layer, scope, place)
        elif not hasattr(child, "items"):
            # A dataset outside of `vars` is of a layer that saves its variables in its own way.
            yield Named(f"{place}{key}", f"{place}{key}", child)
        elif key in _CONTAINERS or "vars" not in child:
            # A list of layers, which has no variables of its own.
            for inner_key, inner in child.items():
                yield from _inside(inner, _of_list(inner_key, inner, layer), scope, f"{place}{key}/{inner_key}/")
        else:
            yield from _inside(child, _of_attribute(key, child, layer), scope, f"{place}{key}/")


def _inside(group: Any, layer: _Layer, scope: Tuple[str, ...], place: str) -> Iterator[Named]:
    if hasattr(group, "items"):
        # Layers of a functional model are called outside of it, and so have no part of its name.
        inner = () if layer.kind == "Functional" else (*scope, layer.name)
        yield from _walk(group, layer, inner, place)


def _variables(group: Any, layer: _Layer, scope: Tuple[str, ...], place: str) -> Iterator[Named]:
    numbers = sorted(group, key=lambda number: (len(number), number))
    names = _names(layer, len(numbers))
    for position, number in enumerate(numbers):
        own = names[position] if names else f"vars/{number}"
        is_open = names is None and layer.kind == "BatchNormalization"
        yield Named("/".join((*scope, own)) if names else f"{place}{own}", f"{place}{own}", group[number], is_open)


def _names(layer: _Layer, count: int) -> Optional[Tuple[str, ...]]:
    """Names of a layer's variables; None if its class is not known, or has other ones (quantized, with adapters)."""
    every = _VARIABLES.get(layer.kind or "", ())
    if layer.options is not None:
        every = tuple(name for name in every if layer.options.get(_OPTIONS.get(name, ""), True) is not False)
    elif count == len(every) - 1 and every[-1:] == ("bias",):
        every = every[:-1]
    return every if len(every) == count and every else None


def _of_list(key: str, group: Any, parent: _Layer) -> _Layer:
    """The layer of a group in a list, which is called after its class and counted."""
    listed = parent.options.get("layers") if parent.options is not None else None
    if not isinstance(listed, list):
        return _Layer(_kind(key), _stored_name(group) or key, None)
    stored, counted = _stored_name(group), 0
    for entry in listed:
        found = _described(entry, "")
        snake = _snake(str(entry.get("class_name"))) if isinstance(entry, dict) else ""
        if snake == re.sub(r"_\d+$", "", key) or snake == key:
            this = snake if counted == 0 else f"{snake}_{counted}"
            counted += 1
            if found.name == stored or (stored is None and this == key):
                return found
    return _Layer(None, stored or key, None)


def _of_attribute(key: str, group: Any, parent: _Layer) -> _Layer:
    """The layer of a group that is called after an attribute: described where the configuration has it under that name."""
    entry = parent.options.get(key) if parent.options is not None else None
    if isinstance(entry, dict) and "class_name" in entry:
        return _described(entry, key)
    stored = _stored_name(group)
    return _Layer(_kind(stored or ""), stored or key, None)


def _described(entry: Any, name: str) -> _Layer:
    """The layer of an entry of a configuration; of classes that are not Keras' own only the name."""
    options = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(options, dict):
        return _Layer(None, name, None)
    module, kind = str(entry.get("module") or "keras"), str(entry.get("class_name"))
    own = module.split(".")[0] in ("keras", "tf_keras", "tensorflow") and entry.get("registered_name") in (None, kind)
    return _Layer(kind if own else None, str(options.get("name") or entry.get("name") or name), options)


def _stored_name(group: Any) -> Optional[str]:
    """The layer's name, which newer versions store."""
    variables = group.get("vars") if hasattr(group, "items") else None
    name = variables.attrs.get("name") if variables is not None else None
    return name.decode() if isinstance(name, bytes) else name


def _kind(name: str) -> Optional[str]:
    """The class that a name stands for which Keras made of it, counted or not."""
    bare = re.sub(r"_\d+$", "", name)
    return next((kind for kind in (*_VARIABLES, "Sequential", "Functional") if _snake(kind) == bare), None)


def _snake(kind: str) -> str:
    """As Keras makes names of classes."""
    name = re.sub(r"\W+", "", kind)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
