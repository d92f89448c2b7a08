"""Runs a model once under a trace, and leaves it as it was.

Stage:  within `make_plan`.
In:     a model and example inputs. Out: the :class:`Record` of the run, or :class:`TraceError`.

Fake tensors have shapes and no elements, so that nothing is computed. A model that looks at elements to decide where to go
is run with real ones.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from .._record import Record
from ..errors import TraceError
from ._names import StateNames
from ._norms import compound_norms
from ._trace import Exits, Trace


def record_of(
    model: torch.nn.Module, names: StateNames, inputs: Sequence[Any], keywords: Mapping[str, Any], mode: str
) -> Record:
    """What a run of the model shows. `mode` is `fake`, `real`, or `auto`: the first, and if it fails the second."""
    problems: List[str] = []
    for way in ("fake", "real") if mode == "auto" else (mode,):
        try:
            return _run(model, names, inputs, keywords, way == "fake")
        except Exception as error:  # Whatever a model's code raises.
            problems.append(f"with {way} tensors: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    raise TraceError(
        f"{type(model).__name__} does not run with these inputs: {'; '.join(problems)}. "
        "Pass the inputs that model(*inputs) takes, on the device of its weights"
    )


def _run(
    model: torch.nn.Module, names: StateNames, inputs: Sequence[Any], keywords: Mapping[str, Any], fake: bool
) -> Record:
    trace = Trace(names)
    model = _shadow(model) if fake else model
    with contextlib.ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_watched(model, trace))
        given: Tuple[Any, Mapping[str, Any]] = (tuple(inputs), dict(keywords))
        if fake:
            fakes = FakeTensorMode(allow_non_fake_inputs=True)
            names.add_twins(fakes.from_tensor)
            given = tree_map_only(torch.Tensor, fakes.from_tensor, given)
            stack.enter_context(fakes)
        stack.enter_context(Exits(trace))
        stack.enter_context(trace)
        outputs = model(*given[0], **given[1])
    trace.close()
    del outputs
    return trace.record


class _SharedTensors(TorchFunctionMode):
    """While it is entered, copies share their tensors with the original."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.__deepcopy__:
            return args[0]
        return function(*args, **(kwargs or {}))


def _shadow(model: torch.nn.Module) -> torch.nn.Module:
    """The model again, around the same tensors. What its code keeps from a run with fake tensors is kept there."""
    # Parameters are copied past the mode; a script keeps nothing from a run, and a copy of one would have its own tensors.
    scripts = [module for module in model.modules() if isinstance(module, torch.jit.ScriptModule)]
    shared = {id(one): one for one in (*model.parameters(), *scripts)}
    with _SharedTensors():
        return copy.deepcopy(model, shared)


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards every module is in the mode that it was in."""
    modes: Dict[torch.nn.Module, bool] = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def _watched(model: torch.nn.Module, trace: Trace) -> Iterator[None]:
    """Norms of small operations report themselves as norms."""
    handles: List[Any] = []

    def before(module: torch.nn.Module, inputs: Any) -> None:
        trace.enter_norm()

    def watch(module: torch.nn.Module, statistic: torch.Tensor, eps: float) -> None:
        def after(_: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
            trace.leave_norm()
            trace.see_compound(statistic, inputs[0], output, eps)

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))

    for module, eps in compound_norms(model):
        watch(module, module.running_var, eps)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
