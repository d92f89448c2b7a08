"""What the tensors of a model are called in its checkpoint.

Stage:  before a trace.
In:     a module, and how its file renames things. Out: :class:`StateNames`, which finds the name of a tensor by the memory
        that it occupies, so that views and other objects for the same memory are recognized.
"""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Protocol, Set, Tuple, Union, cast

import torch
from torch.multiprocessing.reductions import StorageWeakRef

Renaming = Union[Mapping[str, str], Callable[[str], str], None]


class Place(NamedTuple):
    """Which elements of a storage a tensor has, and in which order."""

    storage: int
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]


class Weak(Protocol):
    """A weak reference to memory. As long as one is held, no other memory gets the same number."""

    cdata: int

    def expired(self) -> bool:
        """Whether nobody holds the memory any more."""
        ...


def weakly(tensor: torch.Tensor) -> Weak:
    """A weak reference to the memory of a tensor."""
    return cast(Weak, StorageWeakRef(tensor.untyped_storage()))  # type: ignore[no-untyped-call]


def storage_of(tensor: torch.Tensor) -> int:
    """A number for the memory of a tensor; unique as long as a weak reference to it is held."""
    return weakly(tensor).cdata


def place_of(tensor: torch.Tensor) -> Place:
    """Where a tensor lies. Strides of axes of one element say nothing and are left out."""
    shape = tuple(tensor.shape)
    strides = tuple(stride if size != 1 else 0 for size, stride in zip(shape, tensor.stride()))
    return Place(storage_of(tensor), int(tensor.storage_offset()), shape, strides)


class StateNames:
    """The tensors of a state dict by the memory that they occupy."""

    def __init__(self, model: torch.nn.Module, renaming: Renaming = None, in_file: Optional[Iterable[str]] = None) -> None:
        rename = _function(renaming)
        self._present: Optional[Set[str]] = None if in_file is None else set(in_file)
        self.tensors: Dict[str, torch.Tensor] = {}
        self._by_place: Dict[Place, List[str]] = {}
        self._by_storage: Dict[int, List[str]] = {}
        self._held: List[torch.Tensor] = []
        for key, tensor in model.state_dict(keep_vars=True).items():
            if not isinstance(tensor, torch.Tensor) or tensor.numel() == 0:
                continue
            name = rename(key)
            self.tensors[name] = tensor
            self._add(name, tensor)

    def _add(self, name: str, tensor: torch.Tensor) -> None:
        # Memory that is freed would give its number to other memory.
        self._held.append(tensor)
        for names in (self._by_place.setdefault(place_of(tensor), []), self._by_storage.setdefault(storage_of(tensor), [])):
            if name not in names:
                names.append(name)

    def add_twins(self, twin: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """From now on other tensors go by the same names, too: the fake ones that stand for them in a run."""
        for name, tensor in self.tensors.items():
            self._add(name, twin(tensor))

    def exactly(self, tensor: Optional[torch.Tensor]) -> Tuple[str, ...]:
        """The names of the tensor that lies exactly there; none, one or several."""
        return () if tensor is None else tuple(self._by_place.get(place_of(tensor), ()))

    def touching(self, tensor: torch.Tensor) -> Tuple[str, ...]:
        """The names of everything that lies in the same memory."""
        return tuple(self._by_storage.get(storage_of(tensor), ()))

    def rows_of(self, tensor: torch.Tensor) -> Tuple[str, ...]:
        """The names of the tensor that has the same rows as this one, maybe in another shape: `w[:, :, None, None]`."""
        exact = self.exactly(tensor)
        if exact or not tensor.is_contiguous():
            return exact
        alike = [name for name in self.touching(tensor) if _same_rows(self.tensors[name], tensor)]
        return tuple(alike)

    def overlapping(self, name: str) -> FrozenSet[str]:
        """Other names whose tensors share memory with this one's, itself under other names included."""
        mine = _extent(self.tensors[name])
        others = (other for other in self.touching(self.tensors[name]) if other != name)
        return frozenset(other for other in others if _meet(mine, _extent(self.tensors[other])))

    def in_file(self, names: Iterable[str]) -> Tuple[str, ...]:
        """Those of the names that the checkpoint has, if it is known what it has."""
        return tuple(name for name in names if self._present is None or name in self._present)

    def norms(self) -> List[str]:
        """The norms of the state dict that the checkpoint has, too."""
        found = [name[: -len(".running_var")] for name in self.tensors if name.endswith(".running_var")]
        return [norm for norm in found if self.in_file([f"{norm}.running_var"])]

    def known(self, name: str) -> bool:
        """Whether the model has a tensor of this name."""
        return name in self.tensors

    def rank(self, name: str) -> int:
        """The number of dimensions of a tensor of the model."""
        return self.tensors[name].dim()

    def has(self, name: str) -> bool:
        """Whether the model or the checkpoint has a tensor of this name."""
        return name in self.tensors or (self._present is not None and name in self._present)


def _function(renaming: Renaming) -> Callable[[str], str]:
    if renaming is None:
        return lambda name: name
    if callable(renaming):
        return renaming
    table = renaming
    return lambda name: table.get(name, name)


def _same_rows(stored: torch.Tensor, seen: torch.Tensor) -> bool:
    same_memory = bool(stored.storage_offset() == seen.storage_offset()) and stored.numel() == seen.numel()
    return same_memory and stored.is_contiguous() and stored.dim() > 0 and stored.shape[0] == seen.shape[0]


def _extent(tensor: torch.Tensor) -> Tuple[int, int]:
    """From which element of its storage to which a tensor reaches, in bytes."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    first, width = int(tensor.storage_offset()), tensor.element_size()
    return first * width, (first + last + 1) * width


def _meet(one: Tuple[int, int], other: Tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
