"""`check`: does the folded model compute what the original does?

Stage:  after folding.
In:     the original model with its weights, a folded file, inputs. Out: a :class:`Verdict`, printed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Tuple

import torch

from ..errors import CheckFailed
from .._tensors import PathLike
from ._load import load_folded
from ._operations import tensors_in

BOUND = 1e-5
"""Largest difference that rounding is taken for, in parts of the largest output, for weights of 32 bits."""
_HALF_BOUND = {torch.float16: 5e-3, torch.bfloat16: 4e-2}


@dataclass(frozen=True)
class Verdict:
    """What was compared: the largest difference of any output, in parts of that output's largest element."""

    largest: float
    bound: float
    outputs: Tuple[float, ...]

    @property
    def ok(self) -> bool:
        """Whether the two are the same network but for rounding. A difference that is not a number is none."""
        return self.largest <= self.bound

    def __str__(self) -> str:
        word = "the same network" if self.ok else "ANOTHER NETWORK"
        return f"{word}: outputs differ by {self.largest:.1e} at most, bound {self.bound:.0e}, {len(self.outputs)} outputs"


def check(
    model: torch.nn.Module,
    path: PathLike,
    *inputs: Any,
    keywords: Optional[Mapping[str, Any]] = None,
    bound: Optional[float] = None,
    quiet: bool = False,
) -> Verdict:
    """Runs the original `model` and a copy with the folded file, both in float64, and compares what they put out.

    In float64 the only difference left is the rounding of the folded weights. Prints a verdict, returns it, and raises
    :class:`CheckFailed` if the difference is above `bound`: 1e-5 of the largest output; 5e-3 and 4e-2 for float16 and
    bfloat16, whose weights are rounded that much. The model is not changed.
    """
    folded = load_folded(copy.deepcopy(model), path)
    verdict = compare_outputs(model, folded, inputs, keywords or {}, bound or bound_for(model))
    if not quiet:
        print(verdict)
    if not verdict.ok:
        raise CheckFailed(f"{path}: {verdict}; if layers are run past their forward(), fold with style='drop-in'")
    return verdict


def bound_for(model: torch.nn.Module) -> float:
    """The bound that goes with the type of a model's weights."""
    return max([BOUND, *(_HALF_BOUND.get(parameter.dtype, 0.0) for parameter in model.parameters())])


def compare_outputs(
    one: torch.nn.Module, other: torch.nn.Module, inputs: Any, keywords: Mapping[str, Any], bound: float
) -> Verdict:
    """The verdict about two models."""
    before, after = (_outputs(model, inputs, keywords) for model in (one, other))
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (before, after)]
    if shapes[0] != shapes[1] or not before:
        raise CheckFailed(f"the outputs cannot be compared: shapes {shapes[0]} before and {shapes[1]} after")
    found = tuple(_difference(a, b) for a, b in zip(before, after))
    # max() passes over a NaN that does not come first.
    largest = float("nan") if any(value != value for value in found) else max(found)
    return Verdict(largest, bound, found)


def _outputs(model: torch.nn.Module, inputs: Any, keywords: Mapping[str, Any]) -> List[torch.Tensor]:
    twin = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        result = twin(*map(_double, inputs), **{key: _double(value) for key, value in keywords.items()})
    return [tensor for tensor in _all_tensors(result) if tensor.is_floating_point() and tensor.numel()]


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _all_tensors(result: Any) -> List[torch.Tensor]:
    if hasattr(result, "to_tuple"):
        result = result.to_tuple()
    return tensors_in(result)


def _difference(before: torch.Tensor, after: torch.Tensor) -> float:
    scale = float(before.abs().max())
    difference = float((before - after).abs().max())
    return difference / scale if scale else difference
