"""The options of the program, as keywords.

Stage:  before every call.
In:     keywords. Out: arguments for the command line.

Every key is the program's long option with `_` for `-`; `bnfold-gpu COMMAND --help` describes them all, and a test holds
the two against each other. Where the program takes an option several times, the keyword takes a sequence or a mapping.
"""

from __future__ import annotations

import difflib
import os
from typing import Any, List, Mapping, Sequence, Type, TypedDict, Union

from .plans import Plan

PathLike = Union[str, "os.PathLike[str]"]
Words = Union[str, Sequence[str]]


class PairingOptions(TypedDict, total=False):
    """What is folded; common to `fold`, `plan` and `verify`."""

    eps: float
    """eps of every norm."""
    eps_for: Mapping[str, float]
    """eps of the norms whose name matches a glob, `{"head.*": 1e-3}`; the first match wins."""
    arch: str
    """Architecture, as its library calls it: `"timm/tf_efficientnet_b0"`."""
    arch_for: Mapping[str, str]
    """Architectures of the models whose path matches a glob; the first match wins, and goes before `arch`."""
    evidence: str
    """`"auto"`, `"full"` or `"none"`: how far values may confirm or refute a pair."""
    plan: Union[Plan, PathLike]
    """Follow this plan, an object or a file, instead of planning."""


class KindOptions(TypedDict, total=False):
    """Which remarks are failures."""

    strict: bool
    """Fail if a norm would stay, or if an eps that makes a difference is only assumed."""
    deny: Words
    """Fail on these kinds of warnings and remarks."""
    allow: Words
    """Do not fail on these kinds."""


class FolderOptions(TypedDict, total=False):
    """Which files of a folder are meant."""

    include: Words
    """Globs: take only what matches."""
    exclude: Words
    """Globs: take nothing that matches."""


class PlanOptions(PairingOptions, KindOptions, FolderOptions, total=False):
    """Options of `plan`."""

    only: PathLike
    """Only the model at this place below the folder."""


class ModelOptions(PairingOptions, KindOptions, FolderOptions, total=False):
    """Options of folding, on one machine or on many."""

    style: str
    """`"strip"` or `"drop-in"`."""
    dtype: str
    """`"keep"`, `"f32"`, `"f16"` or `"bf16"`."""
    force: bool
    """Replace outputs that exist."""
    no_record: bool
    """Do not say in the results' metadata where they come from."""
    no_sync: bool
    """Do not wait until the output is on disk."""
    no_verify: bool
    """Skip the comparisons with the f64 reference and with the CPU."""
    allow_non_finite: bool
    """Write results that are not finite instead of refusing them."""
    device: str
    """`"auto"`, `"cpu"`, `"gpu"`, `"gpu:N"`, or several as `"gpu:0,gpu:1"`."""
    copy_sidecars: bool
    """Also copy what lies beside the weights."""
    shard: str
    """`"I/N"`: only part I of N (I from 0) of the models."""


class FoldOptions(ModelOptions, total=False):
    """Options of `fold` and `fold_zoo`."""

    report: PathLike
    """Write a page for a browser."""
    jobs: int
    """Models to process at a time."""
    only: PathLike
    """Only the model at this place below the output folder."""


class VerifyOptions(PairingOptions, total=False):
    """Options of `verify`."""

    max_ulp: float
    """Largest error accepted, in units in the last place."""
    strict: bool
    """Fail if norms could have been folded and were not."""


def arguments(options: Mapping[str, Any], known: Type[Any], call: str) -> List[str]:
    """The options as words of a command line; `plan` has to be a path by now. TypeError on an unknown keyword."""
    names = known.__annotations__
    words: List[str] = []
    for name, value in options.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(sorted(names))}"
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}{hint}")
        words.extend(_words(name, value))
    return words


def _words(name: str, value: Any) -> List[str]:
    option = "--" + name.replace("_", "-")
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if isinstance(value, Mapping):
        # `=` keeps a value that begins with a dash from being taken for an option.
        return [f"{option}={glob}={_text(one)}" for glob, one in value.items()]
    if isinstance(value, (list, tuple)):
        return [f"{option}={_text(one)}" for one in value]
    return [f"{option}={_text(value)}"]


def _text(value: Any) -> str:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    # repr gives the shortest text that is the same number again.
    return repr(value) if isinstance(value, float) else str(value)


