"""`make_plan`: the exact plan of a live model.

Stage:  before folding.
In:     a module and example inputs. Out: a :class:`~bnfold_gpu.plans.Plan` for `fold(plan=...)` and `--plan`.
"""

from __future__ import annotations

import os
from typing import Any, Iterable, Mapping, Optional, Union

import torch

from .._judge import Source, layers
from ..errors import TraceError
from ..plans import Plan
from ._names import Renaming, StateNames
from ._run import record_of

_SOURCE = Source(
    eps="the model's code, as it ran",
    evidence="the model was run: this layer alone feeds the norm, and nothing else reads it",
    code="traced",
    not_run="it did not run for these inputs",
)
Checkpoint = Union[str, "os.PathLike[str]", Iterable[str], None]


def make_plan(
    model: torch.nn.Module,
    *example_inputs: Any,
    example_keywords: Optional[Mapping[str, Any]] = None,
    state_dict_names: Renaming = None,
    checkpoint: Checkpoint = None,
    tensors: str = "auto",
) -> Plan:
    """Runs a model once and says, for every norm of its state dict, which weight feeds it, or why it has to stay.

    `example_inputs` and `example_keywords` are what `model(...)` takes; their values do not matter unless the model's code
    looks at them, their shapes hardly ever. The model is run in evaluation mode and left in the mode that it was in.

    `state_dict_names` maps the model's names to those of the checkpoint, a mapping or a function, where the two differ.
    `checkpoint`, a `.safetensors` file or the names in it, tells which of several names of one tensor is stored; without it
    tensors with several names stay. `tensors` is `"fake"` (shapes without elements), `"real"`, or `"auto"`: fake ones, and
    real ones where the model looks at elements.

    What holds for these inputs is taken to hold for all: a branch that these do not take is not seen. Raises
    :class:`TraceError` if the model does not run.
    """
    if tensors not in ("auto", "fake", "real"):
        raise ValueError(f'tensors is "auto", "fake" or "real", found {tensors!r}')
    inner = _unwrapped(model)
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in inner.parameters()):
        _initialize(inner, example_inputs, example_keywords or {})
    names = StateNames(model, state_dict_names, _in_file(checkpoint))
    if not any(name.endswith(".running_var") for name in names.tensors):
        raise TraceError(f"{type(inner).__name__} has no norm with running statistics in its state dict")
    record = record_of(inner, names, example_inputs, example_keywords or {}, tensors)
    return Plan(layers(record, names, _SOURCE))


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """The module that does the work, without what compiles it or spreads it over devices."""
    while True:
        kind = type(model).__name__
        if kind == "OptimizedModule":
            model = model.get_submodule("_orig_mod")
        elif kind in ("DataParallel", "DistributedDataParallel"):
            model = model.get_submodule("module")
        else:
            return model


def _initialize(model: torch.nn.Module, inputs: Any, keywords: Mapping[str, Any]) -> None:
    """Lazy modules get their shapes from a first run."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(*inputs, **keywords)
    except Exception as error:
        raise TraceError(f"{type(model).__name__} has lazy modules and does not run: {error}") from error
    finally:
        for module, training in modes.items():
            module.training = training


def _in_file(checkpoint: Checkpoint) -> Optional[Iterable[str]]:
    if not isinstance(checkpoint, (str, os.PathLike)):
        return checkpoint
    from safetensors import safe_open

    with safe_open(os.fspath(checkpoint), framework="pt") as file:
        return list(file.keys())
