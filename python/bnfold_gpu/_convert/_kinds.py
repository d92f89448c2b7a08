"""What kind of file a file is.

Stage:  before reading.
In:     a path. Out: a :class:`Kind`, by the file's first bytes and what an archive holds, not by its name; or ConvertError.
"""

from __future__ import annotations

import enum
import zipfile
from pathlib import Path
from typing import List

from ..errors import ConvertError

# What a file in a folder has to be called to be looked at.
EXTENSIONS = (".pt", ".pth", ".bin", ".ckpt", ".h5", ".hdf5", ".keras", ".onnx", ".npz", ".msgpack")


class Kind(enum.Enum):
    """A format."""

    SAFETENSORS = enum.auto()
    TORCH = enum.auto()
    TORCHSCRIPT = enum.auto()
    KERAS = enum.auto()
    NUMPY = enum.auto()
    ONNX = enum.auto()
    FLAX = enum.auto()


def kind_of(path: Path) -> Kind:
    """The format of a file."""
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ConvertError(f"{path}: it cannot be read: {error.strerror or error}") from error
    if start.startswith(b"version https://git-lfs"):
        raise ConvertError(f"{path}: it is a Git LFS pointer, for a file that was not downloaded; run `git lfs pull`")
    if start.startswith(b"PK\x03\x04"):
        return _archive(path)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return Kind.KERAS
    if start[4:9] == b"\0\0\0\0{":
        return Kind.SAFETENSORS
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and path.suffix.lower() != ".msgpack":
        return Kind.TORCH
    if path.suffix.lower() == ".onnx":
        return Kind.ONNX
    if path.suffix.lower() == ".msgpack":
        return Kind.FLAX
    raise ConvertError(
        f"{path}: it is nothing that can be converted; known are files of torch.save and torch.jit.save, Keras (.keras, .h5), "
        "ONNX (.onnx), NumPy (.npz) and Flax (.msgpack)"
    )


def _archive(path: Path) -> Kind:
    names = _names(path)
    if "model.weights.h5" in names and "config.json" in names:
        return Kind.KERAS
    inner = {name.split("/", 1)[-1] for name in names}
    if "data.pkl" in inner:
        return Kind.TORCHSCRIPT if "constants.pkl" in inner else Kind.TORCH
    if names and all(name.endswith(".npy") for name in names):
        return Kind.NUMPY
    raise ConvertError(
        f"{path}: it is a zip archive, and none of torch.save, torch.jit.save, Keras or NumPy; it holds "
        f"{', '.join(names[:5]) or 'nothing'}"
    )


def _names(path: Path) -> List[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ConvertError(f"{path}: a zip archive that is damaged or cut off ({error}); fetch it again") from error
