"""Labels: for every element of memory, which channel of which layer it comes from.

Stage:  while a model runs.
In:     outputs of layers, and of operations that only move elements. Out: the labels of any tensor.

Labels belong to memory and not to tensors. So a view has the right ones whatever made it, and an operation in place takes
them from all views at once. Operations that copy are run a second time on the labels; nothing here knows what a transpose
or a reshape does to channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, Optional, Tuple

import torch

from ._names import Place, Weak, place_of, storage_of, weakly

NOTHING = -1
"""The label of an element that is no layer's output as such."""


@dataclass
class _Memory:
    reference: Weak
    place: Place
    width: int
    elements: int
    labels: Optional[torch.Tensor]
    origin: str
    flat: Optional[torch.Tensor] = None


class Labels:
    """Labels of all memory that a run has touched."""

    def __init__(self) -> None:
        self._memory: Dict[int, _Memory] = {}

    def put(self, tensor: torch.Tensor, labels: Optional[torch.Tensor], origin: str) -> None:
        """From now on the memory of `tensor` holds this: labels of its shape, or none, and what made it."""
        reference = weakly(tensor)
        width = tensor.element_size()
        elements = tensor.untyped_storage().nbytes() // width
        self._memory[reference.cdata] = _Memory(reference, place_of(tensor), width, elements, labels, origin)

    def of(self, tensor: torch.Tensor) -> Optional[torch.Tensor]:
        """The labels of a tensor's elements, in its shape; None if no layer's output is among them."""
        memory = self._memory.get(storage_of(tensor))
        if memory is None or memory.labels is None:
            return None
        if memory.width != tensor.element_size():
            # Bytes of a number are no channel.
            return torch.full(tuple(tensor.shape), NOTHING, dtype=torch.int32, device="cpu")
        if place_of(tensor) == memory.place:
            return memory.labels
        return self._flat(memory).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def whole(self, tensor: torch.Tensor) -> Optional[torch.Tensor]:
        """The labels of all memory that a tensor lies in, whether it has those elements or not."""
        memory = self._memory.get(storage_of(tensor))
        return None if memory is None else memory.labels

    def origin(self, tensor: torch.Tensor) -> str:
        """What made the memory of a tensor."""
        memory = self._memory.get(storage_of(tensor))
        return "an input of the network, or a constant" if memory is None else memory.origin

    def alive(self) -> Iterator[torch.Tensor]:
        """The labels of memory that somebody still holds."""
        for memory in self._memory.values():
            if memory.labels is not None and not memory.reference.expired():
                yield memory.labels

    def forget_the_dead(self) -> None:
        """Frees the labels of memory that is gone; what it was called stays taken."""
        for memory in self._memory.values():
            if memory.labels is not None and memory.reference.expired():
                memory.labels = memory.flat = None

    @staticmethod
    def _flat(memory: _Memory) -> torch.Tensor:
        """The labels in the order of memory."""
        if memory.flat is None:
            assert memory.labels is not None
            place = memory.place
            flat = torch.full((memory.elements,), NOTHING, dtype=torch.int32, device="cpu")
            flat.as_strided(place.shape, place.strides, place.offset).copy_(memory.labels)
            memory.flat = flat
        return memory.flat


def channel_labels(first: int, channels: int, axis: int, shape: Tuple[int, ...]) -> torch.Tensor:
    """The labels of a layer's output: `first + channel`, the same everywhere else."""
    line = torch.arange(first, first + channels, dtype=torch.int32, device="cpu")
    return line.view([channels if place == axis else 1 for place in range(len(shape))]).expand(shape)
