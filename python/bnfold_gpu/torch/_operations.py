"""What operations do to elements, as far as a trace has to know.

Stage:  while a model runs.
In:     an operation below the autograd level (`torch.ops.aten...`). Out: its kind.

An operation that is in none of the tables reads its inputs and makes something new. So one that is not known makes a norm
stay; it never makes a wrong pair.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

import torch

Labelled = Callable[..., torch.Tensor]


def name_of(operation: Any) -> str:
    """`aten.relu_`, without the overload."""
    return str(operation.overloadpacket)


# Operations that move elements into new memory, each with what it does to labels. What is filled in is no layer's.
MOVES: Dict[str, Labelled] = {
    "aten.clone": lambda labels, **_: labels,
    "aten._to_copy": lambda labels, **_: labels,
    "aten.cat": lambda labels, dim=0: torch.cat(labels, dim),
    "aten.stack": lambda labels, dim=0: torch.stack(labels, dim),
    "aten.repeat": lambda labels, repeats: labels.repeat(repeats),
    "aten.flip": lambda labels, dims: torch.flip(labels, dims),
    "aten.roll": lambda labels, shifts, dims=(): torch.roll(labels, shifts, dims),
    "aten.constant_pad_nd": lambda labels, pad, value=0: torch.constant_pad_nd(labels, pad, -1),
    "aten.pixel_shuffle": lambda labels, factor: torch.pixel_shuffle(labels, factor),
    "aten.pixel_unshuffle": lambda labels, factor: torch.pixel_unshuffle(labels, factor),
    "aten.channel_shuffle": lambda labels, groups: torch.channel_shuffle(labels, groups),
}

# Operations that read the shape of their input and no element of it.
SHAPE_ONLY: FrozenSet[str] = frozenset(
    f"aten.{name}"
    for name in (
        "empty_like zeros_like ones_like full_like rand_like randn_like new_empty new_zeros new_ones new_full "
        "new_empty_strided is_same_size sym_size sym_stride sym_numel size stride numel dim"
    ).split()
)

CONVOLUTION = "aten.convolution"
MATRIX_PRODUCTS: Mapping[str, Tuple[int, int]] = {"aten.mm": (0, 1), "aten.addmm": (1, 2)}
"""Products of a matrix of inputs with a transposed weight: the places of the two among the arguments."""


class Arguments:
    """The arguments of an operation by name, with defaults."""

    def __init__(self, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._values: Dict[str, Any] = {}
        for place, argument in enumerate(operation._schema.arguments):
            given = args[place] if place < len(args) else kwargs.get(argument.name, argument.default_value)
            self._values[argument.name] = given

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def get(self, name: str) -> Any:
        """The argument of this name; None if the operation has none."""
        return self._values.get(name)


def is_batch_norm(operation: Any) -> bool:
    """Whether an operation normalizes by statistics that it is given, as all of PyTorch's batch norms do."""
    names = {argument.name for argument in operation._schema.arguments}
    return {"input", "running_mean", "running_var", "weight", "bias"} <= names and bool({"eps", "epsilon"} & names)


def written(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> List[torch.Tensor]:
    """The tensors that an operation writes to in place, `out=` included."""
    found: List[torch.Tensor] = []
    for place, argument in enumerate(operation._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += tensors_in(args[place] if place < len(args) else kwargs.get(argument.name))
    return found


def tensors_in(value: Any) -> List[torch.Tensor]:
    """All tensors of a nested argument or result."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for one in value.values() for tensor in tensors_in(one)]
    if isinstance(value, (list, tuple)):
        return [tensor for one in value for tensor in tensors_in(one)]
    return []


def replaced(value: Any, by: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A nested argument with every tensor replaced."""
    if isinstance(value, torch.Tensor):
        return by(value)
    if isinstance(value, (list, tuple)):
        return [replaced(one, by) for one in value]
    return value


def is_real_number(dtype: Optional[torch.dtype]) -> bool:
    """Whether numbers of this type are rounded real ones: a cast to it commutes with a norm but for rounding."""
    return dtype is None or dtype.is_floating_point
