"""Writes a graph, whole or not at all.

Stage:  the end of `fold`.
In:     a changed model, and the folder that its tensors may still lie in. Out: `NAME.onnx`, and `NAME.onnx.data` beside it if
        the original had tensors in files of their own.

Everything is written into a new folder beside the output, checked there, and moved when it is right.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import Any, BinaryIO, Iterator, List

from onnx import AttributeProto

from ..errors import BnfoldError, UsageError
from ._graph import Graph
from ._protos import loaded, point_to, uses_external_data

# Offsets that run times can map into memory.
_ALIGNMENT = 4096
# Initializers below this stay within the model, as shapes have to.
_LARGE = 1024


def refuse_existing(path: str, force: bool) -> None:
    """UsageError if the output is there and is not to be replaced."""
    for one in (path, f"{path}.data"):
        if os.path.lexists(one) and not force:
            raise UsageError(f"{one} exists; name another output, or replace it with force=True", 2, "")
        if os.path.isdir(one):
            raise UsageError(f"{one} is a folder, and a file is expected", 2, "")


@contextlib.contextmanager
def beside(path: str) -> Iterator[str]:
    """A new folder on the same file system, gone in the end; the output's file in it."""
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent):
        raise UsageError(f"{parent} is no folder; make it, or name another output", 2, "")
    folder = tempfile.mkdtemp(prefix=".bnfold-", suffix=".tmp", dir=parent)
    try:
        yield os.path.join(folder, os.path.basename(path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(graph: Graph, folder: str, path: str) -> None:
    """Writes the model to `path`; tensors in files of their own, below `folder`, go to `path.data`."""
    model = graph.model
    tensors = list(_tensors(model))
    if any(uses_external_data(one) for one in tensors):
        large = {one.name for one in model.graph.initializer if len(one.raw_data) >= _LARGE}
        with open(f"{path}.data", "xb") as file:
            for one in tensors:
                if uses_external_data(one) or one.name in large:
                    _move_out(one, loaded(one, folder, graph.path) if uses_external_data(one) else one, file, path)
            file.flush()
            os.fsync(file.fileno())
    try:
        data = model.SerializeToString()
    except Exception as error:  # protobuf's errors have no common base but this
        raise BnfoldError(f"{graph.path}: the folded model cannot be written: {error}; keep its tensors in external data") from error
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def place(made: str, path: str, force: bool) -> None:
    """Gives what was made its name. What was there before is put back if that fails."""
    files = [end for end in (".data", "") if os.path.lexists(made + end)]
    before = [end for end in ("", ".data") if force and os.path.lexists(path + end)]
    moved: List[str] = []
    try:
        # The old model first: it must never stand beside the tensors of the new one.
        for end in before:
            os.rename(path + end, made + end + ".old")
        for end in files:
            _move(made + end, path + end)
            moved.append(end)
    except BaseException:
        for end in moved:
            os.unlink(path + end)
        for end in reversed(before):
            if os.path.lexists(made + end + ".old"):
                os.rename(made + end + ".old", path + end)
        raise


def _move(source: str, target: str) -> None:
    """Gives a file its name, unless another file has got it in the meantime."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise UsageError(f"{target} exists now, and did not when this began; name another output", 2, "") from None
    except OSError:  # file systems without links
        os.rename(source, target)


def _move_out(tensor: Any, whole: Any, file: BinaryIO, path: str) -> None:
    """Writes a tensor's elements into the file, and where they are into the tensor."""
    data = whole.raw_data
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
    point_to(tensor, f"{os.path.basename(path)}.data", offset=file.tell(), length=len(data))
    file.write(data)


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors of a model, those of the graphs within nodes and of functions included."""
    yield from _tensors_of(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _tensors_in(node)


def _tensors_of(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        yield from _tensors_in(node)


def _tensors_in(node: Any) -> Iterator[Any]:
    for one in node.attribute:
        if one.type == AttributeProto.TENSOR:
            yield one.t
        yield from one.tensors
        for inner in (one.g, *one.graphs) if one.type == AttributeProto.GRAPH else one.graphs:
            yield from _tensors_of(inner)
