"""Tensors that share their memory.

Stage:  between reading and writing.
In:     tensors of PyTorch by name. Out: one name for each, and aliases for the others, as `safetensors.torch.save_model`
        records them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ..errors import ConvertError
from ._weights import Weights

Identity = Tuple[int, Tuple[int, ...], Tuple[int, ...], str]


def with_ties(path: Path, weights: Weights, untie: bool) -> Weights:
    """The same with `{alias: name that stays}`; ConvertError for tensors that overlap without being the same.

    Of one such tensor a fold would change a part, which no alias can say. With `untie` each is written by itself.
    """
    tensors = weights.tensors
    named: Dict[Identity, List[str]] = {}
    for name, tensor in tensors.items():
        if _has_memory(tensor):
            identity = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), str(tensor.dtype))
            named.setdefault(identity, []).append(name)
    if not untie:
        _refuse_overlaps(path, {min(names): tensors[names[0]] for names in named.values()})
    aliases = {alias: min(names) for names in named.values() for alias in names if alias != min(names)}
    kept = {name: tensor for name, tensor in tensors.items() if name not in aliases}
    return dataclasses.replace(weights, tensors=kept, aliases=aliases)


def _has_memory(tensor: Any) -> bool:
    strided = str(tensor.layout) == "torch.strided" and not tensor.is_meta and not tensor.is_quantized
    return bool(strided and tensor.numel())


def _refuse_overlaps(path: Path, tensors: Dict[str, Any]) -> None:
    end, last = 0, ""
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].data_ptr(), item[0])):
        begin = tensor.data_ptr()
        if begin < end:
            raise ConvertError(
                f"{path}: {last} and {name} share a part of their memory, so that folding one would change the other. Leave "
                "one out with leave_out=[NAME] (--leave-out NAME), or have each written by itself with untie=True (--untie) "
                "if the model keeps them apart"
            )
        steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
        end, last = begin + (steps + 1) * tensor.element_size(), name
