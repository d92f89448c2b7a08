"""Converts the files of a folder.

Stage:  the entrance, for folders.
In:     a folder. Out: the same tree of results, and what became of each file. One bad file does not stop the others.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple, Union

from ..errors import BnfoldError, ConvertError, ConvertFailed, MissingLibrary
from ..reports import Failed
from ._index import is_index, shards_of
from ._kinds import EXTENSIONS
from ._results import Conversions, Converted


@dataclass(frozen=True)
class Options:
    """What is the same for every file."""

    key: Optional[str]
    format: Optional[str]
    leave_out: Tuple[str, ...]
    untie: bool
    force: bool


One = Callable[[Path, Path, Options], Converted]


def convert_folder(source: Path, target: Path, back: bool, options: Options, raise_failures: bool, one: One) -> Conversions:
    """Converts all files below `source`; ConvertFailed in the end if any failed."""
    if target.suffix == ".safetensors" or target.is_file():
        raise ConvertError(f"{target}: {source} is a folder, so that the output has to be one, too")
    places = _places(source, back)
    if not places:
        raise ConvertError(f"{source}: there is no file in it called {', '.join(_wanted(back))}")
    twice = Counter(places.values())
    outcomes: List[Union[Converted, Failed]] = []
    for file, place in places.items():
        try:
            if twice[place] > 1:
                rivals = ", ".join(str(other) for other in places if places[other] == place and other != file)
                raise ConvertError(f"{file}: {rivals} would become {place} as well; convert them one by one")
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            outcomes.append(one(file, target / place, options))
        except MissingLibrary as error:
            outcomes.append(Failed(str(file), f"{file}: {error}"))
        except (BnfoldError, OSError, MemoryError) as error:
            outcomes.append(Failed(str(file), str(error) or type(error).__name__))
    conversions = Conversions(tuple(outcomes))
    if conversions.failed and raise_failures:
        each = "\n".join(failed.error for failed in conversions.failed)
        raise ConvertFailed(f"{len(conversions.failed)} of {len(outcomes)} files were not converted:\n{each}", conversions)
    return conversions


def _places(source: Path, back: bool) -> Dict[Path, Path]:
    """Files, and the places of their results below the output."""
    from ._convert import named

    found: Dict[Path, Path] = {}
    for folder, below, names in os.walk(source):
        # Hidden folders are those of programs, such as git's.
        below[:] = sorted(name for name in below if not name.startswith("."))
        indexes = [] if back else [name for name in names if is_index(name)]
        shards = {shard for name in indexes for shard in shards_of(Path(folder, name))}
        for name in sorted(names):
            is_one = name.lower().endswith(_wanted(back)) and name not in shards
            if (is_one or name in indexes) and not name.startswith("."):
                file = Path(folder, name)
                found[file] = file.relative_to(source).with_name(named(name, back))
    return found


def _wanted(back: bool) -> Tuple[str, ...]:
    return (".safetensors",) if back else EXTENSIONS
