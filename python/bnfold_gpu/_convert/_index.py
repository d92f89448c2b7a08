"""Converts a sharded model of PyTorch: `pytorch_model.bin.index.json` and the files that it names.

Stage:  the entrance, for indexes.
In:     an index and its shards beside it. Out: shards of the same division, and an index for them; all of them or none.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

from safetensors import safe_open

from ..errors import ConvertError
from ._files import refuse_existing
from ._results import Converted, listed

SUFFIX = ".bin.index.json"
_RESULT = ".safetensors.index.json"


def is_index(name: str) -> bool:
    """Whether a file is an index by its name."""
    return name.endswith(SUFFIX)


def result_name(name: str) -> str:
    """What the index of the result is called."""
    return name[: -len(SUFFIX)] + _RESULT


def shards_of(index: Path) -> List[str]:
    """The files that an index names, which lie beside it; none if it cannot be read."""
    try:
        return sorted({str(file) for file in _read(index)["weight_map"].values()})
    except ConvertError:
        return []


def convert_index(index: Path, target: Path, force: bool, one: Callable[[Path, Path], Converted]) -> Converted:
    """Converts all shards with `one`, and gives them their names when all are there."""
    content = _read(index)
    shards = shards_of(index)
    results = {shard: Path(shard).with_suffix(".safetensors").name for shard in shards}
    for place in (*(target.with_name(result) for result in results.values()), target):
        refuse_existing(place, force)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bnfold-") as folder:
        made = [one(index.with_name(shard), Path(folder, results[shard])) for shard in shards]
        _refuse_others(index, content["weight_map"], made)
        names = {name: Path(part.output).name for part in made for name in _names(part)}
        (Path(folder) / target.name).write_text(json.dumps({**content, "weight_map": names}, indent=2), encoding="utf-8")
        # The index comes last: without it, no program takes the shards for a model.
        for result in (*results.values(), target.name):
            os.replace(Path(folder, result), target.with_name(result))
    aliases = {alias: name for part in made for alias, name in part.aliases.items()}
    left_out = tuple(name for part in made for name in part.left_out)
    return Converted(str(index), str(target), f"a PyTorch checkpoint of {len(made)} shards", len(names), None, aliases, left_out)


def _read(index: Path) -> Dict[str, Any]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        files = {str(file) for file in content["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConvertError(f"{index}: not an index of a sharded model: {error!r}") from error
    outside = [file for file in files if Path(file).name != file]
    if outside or not files:
        raise ConvertError(f"{index}: its shards have to lie beside it, and it names {listed(tuple(outside)) or 'none'}")
    return dict(content)


def _names(part: Converted) -> List[str]:
    with safe_open(part.output, framework="np") as file:
        return list(file.keys())


def _refuse_others(index: Path, weight_map: Dict[str, str], made: List[Converted]) -> None:
    """A tensor in another shard than the index says comes from another model."""
    for part in made:
        has = {*_names(part), *part.aliases}
        said = {name for name, shard in weight_map.items() if shard == Path(part.input).name}
        if has != said - set(part.left_out):
            odd = tuple(sorted(has ^ said))
            raise ConvertError(f"{index}: it and {Path(part.input).name} do not have the same tensors: {listed(odd)}")
