"""Finds tensors of a checkpoint by their elements.

Stage:  while a graph is matched with a checkpoint.
In:     the tensors of a file, and elements as unsigned integers. Out: names. Equal means the same bits.
"""

from __future__ import annotations

from math import prod
from typing import Dict, List, Mapping, Optional, Tuple

import numpy

from .._safetensors import Stored
from ._graph import BITS, Bits

_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# Enough bytes to tell nearly all tensors apart without reading them whole.
_HEAD = 256


class Contents:
    """The tensors of floating point of a checkpoint by type and size."""

    def __init__(self, stored: Mapping[str, Stored]) -> None:
        self._stored = stored
        self._by_size: Dict[Tuple[str, int], List[str]] = {}
        self._heads: Dict[str, bytes] = {}
        for name, one in stored.items():
            if one.dtype in _WIDTHS:
                self._by_size.setdefault((one.dtype, prod(one.shape)), []).append(name)

    def find(self, bits: Bits, dtype: Optional[str], rows: Optional[bool] = False) -> List[str]:
        """The tensors with these elements in this shape; with `rows` in any shape of these rows, with None in any shape."""
        candidates = self._by_size.get((dtype or "", bits.size), [])
        if rows is not None:
            wanted = rows_first(bits.shape) if rows else bits.shape
            shapes = ((name, self._stored[name].shape) for name in candidates)
            candidates = [name for name, shape in shapes if (rows_first(shape) if rows else shape) == wanted]
        if not candidates:
            return []
        line = numpy.ascontiguousarray(bits).reshape(-1)
        head = line[:_HEAD].tobytes()[:_HEAD]
        return [name for name in candidates if self._head(name) == head and numpy.array_equal(self.bits(name), line)]

    def copies(self, name: str) -> List[str]:
        """All tensors that are equal to this one, itself among them; none if it is no tensor of floating point."""
        one = self._stored[name]
        return self.find(self.bits(name).reshape(one.shape), one.dtype) if one.dtype in _WIDTHS else []

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors are equal, or equally absent."""
        if one not in self._stored or other not in self._stored:
            return (one in self._stored) == (other in self._stored)
        return other in self.copies(one)

    def bits(self, name: str) -> Bits:
        """The elements of a tensor, in a line."""
        return numpy.frombuffer(self._stored[name].bytes(), dtype=BITS[_WIDTHS[self._stored[name].dtype]])

    def _head(self, name: str) -> bytes:
        if name not in self._heads:
            self._heads[name] = self._stored[name].bytes(_HEAD)
        return self._heads[name]


def rows_first(shape: Tuple[int, ...]) -> Tuple[int, int]:
    """A shape with all axes but the first made one."""
    return (shape[0], prod(shape[1:])) if shape else (1, 1)
