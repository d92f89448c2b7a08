"""Reads weights of Keras.

Stage:  reading.
In:     `.keras`, `.weights.h5` (Keras 3), `.h5` and `.hdf5` (Keras 2 and 3). Out: variables under `LAYER/gamma` and the like.

The older format stores names. The newer one stores the variables of a layer by their numbers; which is which the layer's
class and options say, which `_keras_layers` finds. Layers are never built, as that may run code that the file names.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ..errors import ConvertError, MissingLibrary
from ._keras_layers import Named, named
from ._weights import Weights


def read(path: Path) -> Weights:
    """All variables of the model; those of its optimizer are left out."""
    h5py = _imported()
    try:
        if not zipfile.is_zipfile(path):
            with h5py.File(path, "r") as file:
                return _read(path, file, None)
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            memory = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(memory, "r") as file:
            return _read(path, file, config)
    except ConvertError:
        raise
    except Exception as error:  # A damaged file raises anything.
        raise ConvertError(f"{path}: no weights of Keras that can be read: {error!r}") from error


def _imported() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingLibrary("h5py", "converting a file of Keras", "convert") from error
    return h5py


def _read(path: Path, file: Any, config: Optional[Mapping[str, Any]]) -> Weights:
    older = file["model_weights"] if "model_weights" in file else file
    if _strings(older, "layer_names"):
        tensors, optimizer = _older(older), "optimizer_weights" in file
        return Weights("a Keras file (HDF5)", tensors, False, "tf", left_out=("optimizer_weights",) if optimizer else ())
    found = named(file, config)
    if not found:
        raise ConvertError(f"{path}: neither layers of Keras nor variables are in it; it has {', '.join(file) or 'nothing'}")
    tensors = {name: dataset[()] for name, dataset in _unique(found).items()}
    left_out = ("optimizer",) if "optimizer" in file else ()
    unnamed = tuple(one.place for one in found if one.open)
    return Weights("a Keras file" if config else "Keras weights", tensors, False, "tf", left_out=left_out, unnamed=unnamed)


def _older(group: Any) -> Dict[str, Any]:
    """Variables by the names that are listed for each layer; with the layer's in front where several are called alike."""
    listed = [
        (name, f"{layer}/{name}", group[layer][name][()])
        for layer in [*_strings(group, "layer_names"), "top_level_model_weights"]
        if layer in group
        for name in _strings(group[layer], "weight_names")
    ]
    short = {name: array for name, _, array in listed}
    return short if len(short) == len(listed) else {long: array for _, long, array in listed}


def _strings(group: Any, attribute: str) -> List[str]:
    """A list of names; long ones are split into `NAME0`, `NAME1`, ..., as attributes of HDF5 are limited."""
    parts = [attribute] if attribute in group.attrs else []
    while not parts[:1] == [attribute] and f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    return [one.decode() if isinstance(one, bytes) else str(one) for part in parts for one in group.attrs[part]]


def _unique(found: List[Named]) -> Dict[str, Any]:
    """By the names that Keras gives variables; by their places in the file where two models in it have layers of one name."""
    pairs: List[Tuple[str, Any]] = [(one.name, one.dataset) for one in found]
    if len(dict(pairs)) < len(pairs):
        pairs = [(one.place, one.dataset) for one in found]
    return dict(pairs)
