"""`load_folded`: a model that takes a folded file, strictly.

Stage:  after folding.
In:     a model with its norms, and a file of either style. Out: the same model without the norms that were folded.

All or nothing: the file is read and held against the model first; if anything fails, the model is as it was, weights included.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Set, TypeVar

import torch

from ..errors import LoadError, MissingLibrary
from .._tensors import Folded, PathLike, read
from ._names import place_of
from ._strip import Change, FoldedNorm, changes, misfits

Model = TypeVar("Model", bound=torch.nn.Module)
_WRAPPERS = ("_orig_mod.", "module.")


def load_folded(model: Model, path: PathLike) -> Model:
    """Loads a folded file (an index of shards, or a folder with one model) into a model built as for the original.

    A norm that the file does not have any more is replaced by what it did besides normalizing, a layer that has a bias in
    the file gets one, and then everything is loaded strictly; values are converted to the model's types. Norms that stayed
    stay. A `drop-in` file is loaded as it is. Returns `model`, in evaluation mode.

    Raises :class:`LoadError` if the file does not fit; the model is then as it was. What no file can tell is code that
    passes by a layer's `forward` and so its new bias: :func:`check` compares the outputs.
    """
    folded = read(path, "pt")
    inner, tensors = _without_wrapper(model, folded.tensors)
    made: List[Change] = []
    try:
        planned = changes(inner, tensors)
        _plausible(folded, planned)
        for change in planned:
            change.make()
            made.append(change)
        tied = _tied(inner, tensors)
        problems = misfits(inner, tensors, tied)
        if problems:
            raise LoadError(f"{folded.path} does not fit {type(inner).__name__}: {'; '.join(problems)}. {_advice(folded)}")
        _copy(inner, tensors)
    except BaseException:
        for change in reversed(made):
            change.undo()
        raise
    return model.eval()


def load_folded_pretrained(model_class: Any, folder: PathLike, **options: Any) -> Any:
    """A transformers model from a folder with `config.json` and folded weights of either style.

    `model_class` is a class such as `ResNetForImageClassification` or `AutoModelForImageClassification`; `options` go to
    its configuration. `from_pretrained` would drop the biases of a stripped file and only log that.
    """
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise MissingLibrary("transformers", "load_folded_pretrained") from error
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise LoadError(f"{os.fspath(folder)} has no config.json; fold with copy_sidecars=True, or copy it there")
    config = AutoConfig.from_pretrained(os.fspath(folder), **options)
    make = getattr(model_class, "from_config", None) or getattr(model_class, "_from_config", model_class)
    return load_folded(make(config), folder)


def _without_wrapper(model: torch.nn.Module, tensors: Dict[str, torch.Tensor]) -> Any:
    """The module whose names the file has: `module.` and `_orig_mod.` may stand in front on either side."""
    inner: torch.nn.Module = model
    for _ in range(3):
        prefix = next((one for one in _WRAPPERS if hasattr(inner, one[:-1]) and len(list(inner.children())) == 1), None)
        if prefix is None:
            break
        inner = getattr(inner, prefix[:-1])
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    for prefix in _WRAPPERS:
        own = inner.state_dict()
        if tensors and all(name.startswith(prefix) for name in tensors) and not any(name.startswith(prefix) for name in own):
            tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return inner, tensors


def _plausible(folded: Folded, planned: List[Change]) -> None:
    """Refuses a file in which other norms are missing than those that were folded."""
    figures = folded.figures
    gone = len({id(change.old) for change in planned if isinstance(change.new, FoldedNorm)})
    if figures is None or figures.get("style") != "strip" or not isinstance(figures.get("folded"), int):
        return
    if gone != figures["folded"]:
        raise LoadError(
            f"{folded.path} says that {figures['folded']} norms were folded away, and of this model's norms it lacks {gone}: "
            f"it was folded from another network. {_advice(folded)}"
        )


def _tied(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> Set[str]:
    """Names that a file leaves out since their tensors are others' that it has."""
    own = {key: value for key, value in model.state_dict(keep_vars=True).items() if isinstance(value, torch.Tensor)}
    present = {place_of(value) for key, value in own.items() if key in tensors and value.numel()}
    return {key for key, value in own.items() if key not in tensors and value.numel() and place_of(value) in present}


def _copy(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copies all values, or none: names and shapes fit by now, so that what can fail is memory or a device."""
    before = {key: value.detach().clone() for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    whole = model.state_dict()
    whole.update(tensors)
    try:
        model.load_state_dict(whole, strict=True)
    except BaseException as error:
        whole.update(before)
        model.load_state_dict(whole, strict=True)
        if isinstance(error, RuntimeError):
            raise LoadError(f"the values do not go into {type(model).__name__}: {error}") from error
        raise


def _advice(folded: Folded) -> str:
    style: Optional[Any] = folded.figures.get("style") if folded.figures else None
    said = f"It was folded in style {style}. " if style else ""
    return said + "Build the model as for the original checkpoint (the same number of classes, too), with its norms"
