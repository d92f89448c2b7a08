"""`save`: a checkpoint of a model, for the program.

Stage:  before folding.
In:     a model. Out: a `.safetensors` file whose names the planner knows as Keras'.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Union

import keras

from ..errors import CheckpointError
from ._names import WeightNames


def save(model: Any, path: Union[str, "os.PathLike[str]"], *, force: bool = False) -> None:
    """Writes the weights of a built model, each under the names of the layers it lies in and its own (`conv1/kernel`).

    A weight that stands in several models is written once. A file that is there stays there unless `force` is set.
    """
    from safetensors.numpy import save_file

    place = Path(path)
    if place.suffix != ".safetensors":
        raise CheckpointError(f"{place}: a name that ends in .safetensors is expected")
    if place.exists() and not force:
        raise CheckpointError(f"{place} is there already; force=True replaces it")
    arrays = _arrays(model)
    handle, unfinished = tempfile.mkstemp(prefix=".bnfold-", suffix=".tmp", dir=place.parent)
    os.close(handle)
    try:
        save_file(arrays, unfinished, metadata={"format": "tf"})
        _flush(unfinished)
        os.replace(unfinished, place)
    except BaseException:
        os.unlink(unfinished)
        raise


def _arrays(model: Any) -> Dict[str, Any]:
    import numpy

    names = WeightNames(model, error=CheckpointError)
    if not names.weights:
        raise CheckpointError(f"{model.name} has no weights; is it built?")
    arrays = {}
    for stored, weight in names.items():
        # A view into the framework's memory may lie in another order.
        arrays[stored[0]] = numpy.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        if arrays[stored[0]].ndim != len(weight.shape):
            arrays[stored[0]] = arrays[stored[0]].reshape(tuple(weight.shape))
    return arrays


def _flush(path: str) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
