"""Writes weights as a checkpoint, and reads it back.

Stage:  the end of a conversion.
In:     :class:`Weights`. Out: a `.safetensors` file with the same names, types, shapes and bytes, aliases in `__metadata__`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Set

from safetensors import SafetensorError, safe_open

from ..errors import ConvertError
from ._files import write_whole
from ._results import listed
from ._weights import Weights


def write(weights: Weights, target: Path, force: bool) -> None:
    """Writes the file; ConvertError names the tensors that the format cannot hold."""
    if not weights.tensors:
        raise ConvertError(f"there is no tensor to write{_besides(weights)}")
    _refuse_types(weights)
    metadata = {**({"format": weights.format} if weights.format else {}), **weights.marks, **weights.aliases}
    if weights.format and "format" in weights.aliases or set(weights.aliases) & set(weights.tensors):
        raise ConvertError(f"names of tied tensors are also others: {listed(tuple(weights.aliases))}; leave these out")
    write_whole(target, force, lambda path: _write(weights, metadata, path))


def _write(weights: Weights, metadata: Dict[str, str], path: Path) -> None:
    try:
        if weights.is_torch:
            from safetensors.torch import save_file

            # Copies: the library refuses tensors that share their memory, also where they do not overlap.
            save_file({name: _plain(tensor) for name, tensor in weights.tensors.items()}, path, metadata)
        else:
            from safetensors.numpy import save_file as save_arrays

            save_arrays({name: ordered(array) for name, array in weights.tensors.items()}, path, metadata)
    except SafetensorError as error:
        raise ConvertError(f"the safetensors library does not write it: {error}") from error
    _compare(weights, path)


def _plain(tensor: Any) -> Any:
    import torch

    plain = tensor.detach().resolve_conj().resolve_neg().cpu()
    return plain.clone(memory_format=torch.contiguous_format)


def ordered(array: Any) -> Any:
    """Row by row and with the low byte first: the library writes the memory of an array as it lies there."""
    import numpy as np

    swapped = array.astype(array.dtype.newbyteorder("<")) if array.dtype.byteorder == ">" else array
    return np.ascontiguousarray(swapped).reshape(array.shape)


def _refuse_types(weights: Weights) -> None:
    """All at once, so that one glob after the other need not be tried."""
    unknown: Dict[str, List[str]] = {}
    writable: Set[str] = set()
    for name, tensor in weights.tensors.items():
        what = _what(tensor) if weights.is_torch else str(tensor.dtype)
        if what in writable:
            continue
        if what not in unknown and _is_writable(tensor, weights.is_torch):
            writable.add(what)
        else:
            unknown.setdefault(what, []).append(name)
    if unknown:
        found = "; ".join(f"{what}: {listed(tuple(names))}" for what, names in unknown.items())
        raise ConvertError(
            f"it holds tensors that .safetensors has no type for: {found}. Convert them in the library that wrote the file, or "
            "leave them out with leave_out=[GLOB, ...] (--leave-out GLOB)"
        )


def _what(tensor: Any) -> str:
    """What decides whether a tensor can be written."""
    if str(tensor.layout) != "torch.strided":
        return str(tensor.layout)
    return "without values (on the meta device)" if tensor.is_meta else str(tensor.dtype)


def _is_writable(tensor: Any, is_torch: bool) -> bool:
    """The library is asked, as its list of types grows."""
    try:
        if is_torch:
            import torch
            from safetensors.torch import save

            if _what(tensor) != str(tensor.dtype) or tensor.is_quantized:
                return False
            save({"x": torch.zeros(1, dtype=torch.uint8).expand(tensor.dtype.itemsize).clone().view(tensor.dtype)})
        else:
            import numpy as np
            from safetensors.numpy import save as save_arrays

            save_arrays({"x": np.zeros(1, dtype=tensor.dtype)})
    except (SafetensorError, KeyError, TypeError, RuntimeError, ValueError):
        return False
    return True


def _compare(weights: Weights, path: Path) -> None:
    """What was written is read again: a result that is not there in full must not get its name."""
    with safe_open(path, framework="pt" if weights.is_torch else "np") as file:
        if set(file.keys()) != set(weights.tensors):
            raise ConvertError("what was written has other names than what was read; this is a fault of the program")
        for name, tensor in weights.tensors.items():
            if not _same(file.get_tensor(name), tensor, weights.is_torch):
                raise ConvertError(f"{name} reads back otherwise than it was written; is the disk sound?")


def _same(written: Any, tensor: Any, is_torch: bool) -> bool:
    """Bit by bit, as NaN is no number."""
    if is_torch:
        import torch

        plain = _plain(tensor)
        if written.dtype != plain.dtype or written.shape != plain.shape:
            return False
        return bool(torch.equal(written.reshape(-1).view(torch.uint8), plain.reshape(-1).view(torch.uint8)))
    plain = ordered(tensor)
    return bool(written.dtype == plain.dtype and written.shape == plain.shape and written.tobytes() == plain.tobytes())


def _besides(weights: Weights) -> str:
    return f"; it holds {listed(weights.left_out)}" if weights.left_out else ""
