"""Reads and writes `.safetensors` files as bytes, whatever their element types are.

Stage:  where tensors are compared or carried, and not computed with.
In:     a file, an index of a sharded model, or a folder with one of these. Out: :class:`Stored` by name.

NumPy has no bfloat16, so that the library's NumPy front end cannot read every file that can be folded.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type, Union

from safetensors import SafetensorError, safe_open

from .errors import BnfoldError


@dataclass(frozen=True)
class Stored:
    """One tensor of a file; `begin` and `end` are bytes of the file."""

    path: Path
    dtype: str
    shape: Tuple[int, ...]
    begin: int
    end: int

    def bytes(self, most: Optional[int] = None) -> bytes:
        """Its elements, little-endian; of these the first bytes, if only so many are wanted."""
        length = self.end - self.begin
        with open(self.path, "rb") as file:
            file.seek(self.begin)
            return file.read(length if most is None else min(most, length))


def read(path: Union[str, os.PathLike[str]], wrong: Type[BnfoldError]) -> Dict[str, Stored]:
    """The tensors of a model by name; no elements are read yet. `wrong` is the error for files that are none."""
    tensors: Dict[str, Stored] = {}
    for part in parts(Path(path), wrong):
        try:
            with safe_open(os.fspath(part), framework="numpy") as file:
                file.keys()  # the library has the last word on whether the file is whole
            tensors.update(_header(part))
        except SafetensorError as error:
            raise wrong(f"{part}: not a .safetensors file: {error}") from error
    return tensors


def parts(path: Path, wrong: Type[BnfoldError]) -> List[Path]:
    """The files of a model; `wrong` is the error if the path leads to none."""
    if path.is_dir():
        indices = sorted(path.glob("*.safetensors.index.json"))
        files = indices or sorted(path.glob("*.safetensors"))
        if len(files) != 1:
            raise wrong(f"{path}: one .safetensors file or one index is expected, found {[file.name for file in files]}")
        path = files[0]
    if path.name.endswith(".json"):
        try:
            shards = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise wrong(f"{path}: not an index of a sharded model: {error!r}") from error
        return [path.parent / shard for shard in sorted(shards)]
    return [path]


def write(path: Union[str, os.PathLike[str]], tensors: Mapping[str, Tuple[str, Tuple[int, ...], bytes]]) -> None:
    """Writes tensors, each an element type, a shape and its elements."""
    header: Dict[str, Any] = {}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, data in tensors.values():
            file.write(data)


def _header(path: Path) -> Dict[str, Stored]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: Stored(path, entry["dtype"], tuple(entry["shape"]), *(8 + length + one for one in entry["data_offsets"]))
        for name, entry in header.items()
        if name != "__metadata__"
    }
