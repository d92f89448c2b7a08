"""Reads archives of NumPy.

Stage:  reading.
In:     an `.npz` file. Out: its arrays under their names. Nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional

from ..errors import ConvertError, MissingLibrary
from ._results import listed
from ._weights import Weights

# What frameworks call themselves in a checkpoint's metadata. A slip would be taken for "not MLX".
_FORMATS = ("pt", "mlx", "tf", "flax", "np", "mxnet", "mindspore", "safetensors")


def read(path: Path, format: Optional[str]) -> Weights:
    """All arrays; ConvertError where names leave open how weights are laid out, and `format` does not say it."""
    if format is not None and format not in _FORMATS:
        raise ConvertError(f"{path}: format={format!r} is not known; it is one of {', '.join(_FORMATS)}")
    np = imported("converting an .npz file")
    arrays: Dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    said = f"{path}: {name} cannot be read without running code that the file brings: {error}"
                    raise ConvertError(said) from error
    except ConvertError:
        raise
    except Exception as error:  # A damaged archive raises anything.
        raise ConvertError(f"{path}: NumPy cannot read it: {error}") from error
    if format is None:
        _refuse_two_layouts(path, arrays)
    return Weights("a NumPy archive", arrays, False, format or "np")


def imported(purpose: str) -> Any:
    """The library."""
    try:
        import numpy
    except ImportError as error:
        raise MissingLibrary("numpy", purpose, "convert") from error
    return numpy


def _refuse_two_layouts(path: Path, arrays: Dict[str, Any]) -> None:
    """PyTorch and MLX call tensors alike and store (transposed) convolutions in different order."""
    norms = [name for name in arrays if name.rsplit(".", 1)[-1] == "running_mean"]
    convs = [name for name, array in arrays.items() if name.rsplit(".", 1)[-1] == "weight" and array.ndim > 2]
    if norms and convs:
        raise ConvertError(
            f"{path}: its names are those of PyTorch and of MLX, which store convolutions such as {listed(tuple(convs), 2)} "
            "differently; say which with format='pt' or format='mlx' (--format)"
        )
