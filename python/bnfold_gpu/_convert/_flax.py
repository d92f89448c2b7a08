"""Reads variables of Flax.

Stage:  reading.
In:     a `.msgpack` file, as `flax.serialization.to_bytes` and transformers write. Out: arrays under `COLLECTION/MODULE/NAME`.

Flax stores an array as extension 1 of MessagePack: its shape, the name of its type and its bytes, packed once more; one that
is too large for this is a map of chunks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as AnyMapping
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ..errors import ConvertError, MissingLibrary, SeveralStateDicts
from ._numpy import imported
from ._results import listed
from ._weights import Weights

_COLLECTIONS = ("params", "batch_stats")
_CHUNKED = "__msgpack_chunked_array__"
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3


def read(path: Path, key: Optional[str]) -> Weights:
    """The variables of a model: its `params` and `batch_stats`, or the whole tree where these are not told apart."""
    imported("converting a file of Flax")
    root = _unpacked(path)
    if key:
        for part in key.split("/"):
            if not isinstance(root, AnyMapping) or part not in root:
                has = listed(tuple(str(one) for one in root)) if isinstance(root, AnyMapping) else "no entries"
                raise SeveralStateDicts(f"{path}: there is no entry {key!r}; at {part!r} it has {has}", list(root or ()))
            root = root[part]
    if not isinstance(root, AnyMapping):
        raise ConvertError(f"{path}: a map of variables is expected, and it holds a {type(root).__name__}")
    taken = {name: root[name] for name in _COLLECTIONS if name in root} or root
    # A whole state of linen, kept in the field `params` of another.
    if set(taken) == {"params"} and isinstance(root["params"], AnyMapping) and "params" in root["params"]:
        taken = root["params"]
    arrays: Dict[str, Any] = {}
    other: List[str] = [str(name) for name in root if name not in taken and taken is not root.get("params")]
    for name, value in _leaves(taken, ()):
        if hasattr(value, "dtype"):
            if name in arrays:
                raise ConvertError(f"{path}: two variables are called {name}")
            arrays[name] = value
        else:
            other.append(name)
    return Weights("variables of Flax", arrays, False, "flax", key, left_out=tuple(other))


def _unpacked(path: Path) -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise MissingLibrary("msgpack", "converting a file of Flax", "convert") from error
    try:
        return msgpack.unpackb(path.read_bytes(), ext_hook=_extension, raw=False, strict_map_key=False)
    except ConvertError as error:
        raise ConvertError(f"{path}: {error}") from error
    except Exception as error:  # A damaged file raises anything.
        raise ConvertError(f"{path}: no MessagePack as Flax writes it: {error!r}") from error


def _extension(code: int, data: bytes) -> Any:
    import msgpack

    if code in (_ARRAY, _SCALAR):
        shape, name, memory = msgpack.unpackb(data, raw=False)
        return _array([int(size) for size in shape], name if isinstance(name, str) else name.decode(), memory)
    if code == _COMPLEX:
        return complex(*msgpack.unpackb(data))
    raise ConvertError(f"it holds an extension {code} of MessagePack, which Flax does not write")


def _array(shape: List[int], name: str, memory: bytes) -> Any:
    np = imported("converting a file of Flax")
    if hasattr(np, name) and isinstance(getattr(np, name), type):
        dtype = np.dtype(getattr(np, name))
    else:
        try:
            import ml_dtypes
        except ImportError as error:
            raise MissingLibrary("ml_dtypes", f"converting {name}", "convert") from error
        if not hasattr(ml_dtypes, name):
            raise ConvertError(f"an array is of type {name!r}, which is not known")
        dtype = np.dtype(getattr(ml_dtypes, name))
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(memory):
        raise ConvertError(f"an array of {name}{shape} has {len(memory)} bytes")
    return np.frombuffer(memory, dtype=dtype).reshape(shape)


def _leaves(value: Any, place: Tuple[str, ...]) -> Iterator[Tuple[str, Any]]:
    if isinstance(value, AnyMapping) and _CHUNKED in value:
        yield "/".join(place), _joined(value, "/".join(place))
    elif isinstance(value, AnyMapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*place, str(key)))
    else:
        yield "/".join(place), value


def _joined(chunked: Mapping[str, Any], name: str) -> Any:
    """The array of a map `{"shape": {"0": ..}, "chunks": {"0": ..}}`."""
    np = imported("converting a file of Flax")
    try:
        shape, chunks = ([chunked[key][str(place)] for place in range(len(chunked[key]))] for key in ("shape", "chunks"))
        return np.concatenate([chunk.reshape(-1) for chunk in chunks]).reshape(shape)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ConvertError(f"the chunks of {name} do not make an array: {error!r}") from error
