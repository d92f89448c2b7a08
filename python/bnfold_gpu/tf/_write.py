"""Writes a checkpoint, whole or not at all.

Stage:  after folding.
In:     tensors by name. Out: PREFIX.index and PREFIX.data-00000-of-00001.

Both are written under other names beside their places and renamed when they are whole. Where files are replaced, these are
set aside first, and put back if anything fails.
"""

from __future__ import annotations

import glob
import os
import tempfile
from typing import Any, Dict, List, Mapping

import tensorflow

from ..errors import CheckpointError


def check_absent(prefix: str, force: bool) -> None:
    """Refuses to replace a checkpoint that nobody said might be replaced."""
    there = files_of(prefix)
    if there and not force:
        raise CheckpointError(f"{there[0]} is there already; force=True replaces the checkpoint")
    folder = os.path.dirname(prefix) or "."
    if not os.path.isdir(folder):
        raise CheckpointError(f"{folder} is no folder: make it first")


def files_of(prefix: str) -> List[str]:
    """The files of a checkpoint."""
    escaped = glob.escape(prefix)
    return [*glob.glob(f"{escaped}.index"), *sorted(glob.glob(f"{escaped}.data-[0-9]*-of-[0-9]*"))]


def write(prefix: str, tensors: Mapping[str, Any]) -> None:
    """Writes a checkpoint by names, in place of one that may be there."""
    parent = os.path.dirname(prefix) or "."
    with tempfile.TemporaryDirectory(prefix=".bnfold-", suffix=".tmp", dir=parent) as folder:
        unfinished = os.path.join(folder, "new")
        try:
            tensorflow.raw_ops.SaveV2(
                prefix=unfinished,
                tensor_names=list(tensors),
                shape_and_slices=[""] * len(tensors),
                tensors=[tensorflow.constant(tensor) for tensor in tensors.values()],
            )
        except (tensorflow.errors.OpError, TypeError, ValueError) as error:
            raise CheckpointError(f"{prefix}: the checkpoint cannot be written: {error}") from error
        made = files_of(unfinished)
        for path in made:
            _flush(path)
        # The index comes last: without it there is no checkpoint.
        _place({path: prefix + path[len(unfinished) :] for path in reversed(made)}, files_of(prefix), folder)


def _place(made: Dict[str, str], old: List[str], folder: str) -> None:
    aside = {path: os.path.join(folder, f"old-{place}") for place, path in enumerate(old)}
    moved: List[str] = []
    placed: List[str] = []
    try:
        for path, waiting in aside.items():
            os.rename(path, waiting)
            moved.append(path)
        for path, place in made.items():
            os.rename(path, place)
            placed.append(place)
    except BaseException:
        for place in placed:
            os.unlink(place)
        for path in reversed(moved):
            os.rename(aside[path], path)
        raise


def _flush(path: str) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
