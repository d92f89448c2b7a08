"""`convert`: one file, or the files of a folder.

Stage:  the entrance.
In:     a path and what to do. Out: a checkpoint per file, and :class:`Converted` or :class:`Conversions`.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Optional, Sequence, Union

from ..errors import BnfoldWarning, ConvertError
from ..options import PathLike
from . import _flax, _keras, _numpy, _onnx, _torch, _torchscript
from ._back import write_back
from ._files import refuse_existing
from ._folder import Options, convert_folder
from ._index import convert_index, is_index, result_name
from ._kinds import Kind, kind_of
from ._results import Conversions, Converted, listed
from ._ties import with_ties
from ._weights import Weights
from ._write import write

_UNNAMED = (
    "weights without the model's configuration do not say whether a norm of fewer than four variables has a scale or a shift; "
    "convert the .keras file, or these norms will not be folded:"
)
_STATE_DICTS = (".pth", ".pt", ".bin")


def convert(
    input: PathLike,
    output: Optional[PathLike] = None,
    *,
    to: Optional[str] = None,
    key: Optional[str] = None,
    format: Optional[str] = None,
    leave_out: Union[str, Sequence[str]] = (),
    untie: bool = False,
    force: bool = False,
    raise_failures: bool = True,
) -> Union[Converted, Conversions]:
    """Converts a file of PyTorch, Keras, ONNX, NumPy or Flax to `.safetensors`, or a `.safetensors` file to `.pth`.

    `output` is a file or a folder, by default a file beside `input`. Of a folder all such files are converted, into the same
    places below `output`; with `to="pth"` its `.safetensors` files. A file that fails does not stop the others: in the end
    :class:`ConvertFailed` holds all outcomes, or they are returned if `raise_failures` is False.

    `key` names the entry that holds the weights where a file has several, `format` the framework of an `.npz` file (what
    `__metadata__` says: `"pt"`, `"mlx"`, `"tf"`, `"flax"`, ...), `leave_out` globs of tensors that are not wanted. `untie` writes
    tensors that overlap as separate ones. Existing outputs are refused unless `force` is set.

    No code of a file is run. Raises :class:`ConvertError`: :class:`SeveralStateDicts` if `key` has to be given,
    :class:`UnsafeFile` if reading the file would run code; nothing was written then.
    """
    globs = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
    if to not in (None, "safetensors", "pth"):
        raise ConvertError(f"to={to!r}: 'safetensors' or 'pth' is expected")
    options = Options(key, format, globs, untie, force)
    source = Path(input)
    if source.is_dir():
        place = Path(output) if output is not None else source
        return convert_folder(source, place, to == "pth", options, raise_failures, _one)
    return _one(source, target_of(source, output, to), options)


def target_of(source: Path, output: Optional[PathLike], to: Optional[str]) -> Path:
    """The file that is written for `source`; ConvertError if its name says something else than `to`."""
    if is_index(source.name):
        return _index_of(source, output)
    back = source.suffix == ".safetensors" if to is None else to == "pth"
    name = named(source.name, back)
    if output is None:
        return source.with_name(name)
    target = Path(output)
    if target.is_dir() or os.fspath(output).endswith(("/", os.sep)):
        return target / name
    expected = _STATE_DICTS if back else (".safetensors",)
    if target.suffix not in expected:
        raise ConvertError(f"{target}: the result of {source} is called {' or '.join('*' + one for one in expected)}")
    return target


def _index_of(source: Path, output: Optional[PathLike]) -> Path:
    if output is None or Path(output).is_dir() or os.fspath(output).endswith(("/", os.sep)):
        return Path(output or source.parent) / result_name(source.name)
    if not os.fspath(output).endswith(".safetensors.index.json"):
        raise ConvertError(f"{output}: {source} is a sharded model; its output is a folder, or *.safetensors.index.json")
    return Path(output)


def named(name: str, back: bool) -> str:
    """What the result of a file of that name is called."""
    if is_index(name):
        return result_name(name)
    bare = name[: -len(".weights.h5")] if name.endswith(".weights.h5") else name.rsplit(".", 1)[0]
    return bare + (".pth" if back else ".safetensors")


def _one(source: Path, target: Path, options: Options) -> Converted:
    if is_index(source.name):
        return convert_index(source, target, options.force, lambda shard, result: _one(shard, result, options))
    refuse_existing(target, options.force)
    kind = kind_of(source)
    if target.suffix != ".safetensors":
        return _back(source, target, kind, options)
    if kind is Kind.SAFETENSORS:
        raise ConvertError(f"{source}: it is a .safetensors file already; name an output *.pth for the way back")
    weights = _read(source, kind, options).without(options.leave_out)
    if weights.is_torch:
        weights = with_ties(source, weights, options.untie)
    try:
        write(weights, target, options.force)
    except ConvertError as error:
        raise ConvertError(f"{source}: {error}") from error
    if weights.unnamed:
        warnings.warn(BnfoldWarning(f"{source}: {_UNNAMED} {listed(weights.unnamed)}", "unnamed-variables"), stacklevel=2)
    about = (weights.key, weights.aliases, weights.left_out, weights.unnamed)
    return Converted(str(source), str(target), weights.kind, len(weights.tensors), *about)


def _back(source: Path, target: Path, kind: Kind, options: Options) -> Converted:
    if kind is not Kind.SAFETENSORS:
        raise ConvertError(f"{source}: only a .safetensors file is written as {target.suffix}; convert it to .safetensors first")
    count, aliases = write_back(source, target, options.force)
    return Converted(str(source), str(target), "a .safetensors file", count, None, aliases, ())


def _read(source: Path, kind: Kind, options: Options) -> Weights:
    key, format = options.key, options.format
    if kind not in (Kind.TORCH, Kind.FLAX) and key is not None:
        raise ConvertError(f"{source}: key={key!r} is given, and such a file has no entries to choose from")
    if kind is not Kind.NUMPY and format is not None:
        raise ConvertError(f"{source}: format={format!r} is given, and such a file is always of one framework")
    if kind is Kind.TORCH:
        return _torch.read(source, key)
    if kind is Kind.TORCHSCRIPT:
        return _torchscript.read(source)
    if kind is Kind.NUMPY:
        return _numpy.read(source, format)
    if kind is Kind.FLAX:
        return _flax.read(source, key)
    return _keras.read(source) if kind is Kind.KERAS else _onnx.read(source)
