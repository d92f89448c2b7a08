"""Reads the tensors of a TorchScript archive without running the program that it holds.

Stage:  reading.
In:     an archive of `torch.jit.save`. Out: its tensors under the names that `state_dict()` gives them.

`torch.jit.load` runs methods of the archive (`__setstate__`), and these may write files. Here its objects are only taken
apart: every class of the archive becomes an inert one, and any function beyond those that make tensors is refused.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

from ..errors import ConvertError, UnsafeFile
from ._torch import imported
from ._weights import Weights

# What files call storages, and the types of their elements.
_STORAGES = {
    "BFloat16Storage": "bfloat16",
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ComplexFloatStorage": "complex64",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
}
_TAGS = ("restore_type_tag", "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")


class _Inert:
    """An object of the archive: its attributes, and no methods."""

    attributes: Any = None

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


class _Unpickler(pickle.Unpickler):
    """Knows tensors, lists and inert objects. An unpickler runs nothing but what `find_class` returns."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}/data.pkl")))
        self._archive, self._folder = archive, folder
        self._storages: Dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Inert
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return getattr(imported(), _STORAGES[name])
        if module == "torch.jit._pickle" and name in _TAGS:
            return lambda value, *_: value
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise UnsafeFile(f"it needs {module}.{name}, which is not known to be harmless", [f"{module}.{name}"])

    def persistent_load(self, pid: Any) -> Any:
        torch = imported()
        _, dtype, key, *_ = pid
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._folder}/data/{key}"))
            memory = torch.frombuffer(data, dtype=torch.uint8).untyped_storage() if data else torch.UntypedStorage(0)
            self._storages[key] = memory
        return dtype, self._storages[key]


def _tensor(storage: Any, offset: int, size: Tuple[int, ...], stride: Tuple[int, ...], *_: Any) -> Any:
    """PyTorch checks that all of it lies in the storage."""
    dtype, memory = storage
    return imported().empty(0, dtype=dtype).set_(memory, offset, size, stride)


def read(path: Path) -> Weights:
    """All tensors that are attributes of the module and its modules."""
    imported()
    try:
        with zipfile.ZipFile(path) as archive:
            folder = next(name for name in archive.namelist() if name.endswith("/data.pkl")).rsplit("/", 1)[0]
            module = _Unpickler(archive, folder).load()
    except UnsafeFile as error:
        raise UnsafeFile(
            f"{path}: a TorchScript archive: {error}; load it with torch.jit.load if you trust it, and save its state_dict()",
            error.found,
        ) from error
    except Exception as error:  # A damaged or hostile archive raises anything.
        raise ConvertError(f"{path}: this TorchScript archive cannot be read: {error!r}") from error
    tensors = dict(_attributes(module, "", 0))
    if not tensors:
        raise ConvertError(
            f"{path}: the modules of this TorchScript archive hold no tensors, as after torch.jit.freeze, which makes them "
            "constants without names; convert the archive as it was before"
        )
    return Weights("a TorchScript archive", tensors, True, "pt")


def _attributes(module: Any, prefix: str, depth: int) -> Iterator[Tuple[str, Any]]:
    tensor = imported().Tensor
    attributes = module.attributes if isinstance(module, _Inert) else None
    if not isinstance(attributes, dict) or depth > 100:
        return
    for name, value in attributes.items():
        if isinstance(value, tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Inert):
            yield from _attributes(value, f"{prefix}{name}.", depth + 1)
