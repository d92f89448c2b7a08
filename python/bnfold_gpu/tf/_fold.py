"""`fold_checkpoint`: a checkpoint without the norms that were folded.

Stage:  the whole way: out of a checkpoint, through the program, into a checkpoint.
In:     a prefix, options of `fold`. Out: files, and a :class:`FoldedCheckpoint`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Optional, Tuple

import numpy

from .. import _calls
from ..errors import BnfoldWarning, CheckpointError, ProgramError
from ..options import FoldOptions, PlanOptions
from ..plans import Plan
from ..reports import Report
from ._read import AVERAGE, PathLike, Variables, prefix_of, variables_of
from ._write import check_absent, write

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class FoldedCheckpoint:
    """What became of a checkpoint; `averaged` is the report on its moving averages, where it has such."""

    prefix: str
    report: Report
    averaged: Optional[Report]
    left_out: Tuple[str, ...]
    """The names of what was kept for training, and does not fit folded variables."""


def plan_checkpoint(prefix: PathLike, **options: Unpack[PlanOptions]) -> Plan:
    """What would be folded in a checkpoint, and why; names are those of variables."""
    source = prefix_of(prefix)
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        path = _export(variables_of(source).network, folder, "model")
        with _named(path, source):
            return dataclasses.replace(_calls.plan(path, **options), input=None)


def fold_checkpoint(prefix: PathLike, out_prefix: PathLike, **options: Unpack[FoldOptions]) -> FoldedCheckpoint:
    """Folds a checkpoint of TensorFlow 1 or 2 and writes one by names, as `tf.compat.v1.train.Saver` does.

    Variables of folded norms are gone, layers have the biases that folding made (`Conv/biases` in slim, `conv1/bias` in
    Keras), and everything else is the same. Saver, `tf.train.Checkpoint` and tf.keras' `load_weights` restore it by name;
    for models of Keras 3 there is :func:`load_folded`. Moving averages (`.../ExponentialMovingAverage`) are a network of
    their own, and are folded like the variables.

    Options are those of `fold`; `plan` may be one of :func:`plan_checkpoint`. What optimizers keep for variables that are
    gone or changed is left out, and a warning says so. Raises :class:`CheckpointError` or an error of `fold`; then nothing
    was written.
    """
    place = os.fspath(out_prefix)
    check_absent(place, bool(options.get("force")))
    source = prefix_of(prefix)
    found = variables_of(source)
    if not found.network:
        raise CheckpointError(f"{source} has no variable of floating-point numbers")
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        path = _export(found.network, folder, "model")
        # Both networks get the same plan.
        with _named(path, source):
            plan = _calls.plan(path, **_for_plan(options))
        following: Any = {**options, "plan": plan}
        with _named(path, source):
            report, network = _folded(path, following)
        averaged, averages = _averaged(found, network, folder, source, following)
    left_out = _stale(found, network)
    kept = {name: tensor for beside in found.beside.values() for name, tensor in beside.items() if name not in left_out}
    write(place, {**network, **averages, **kept, **found.others})
    if left_out or found.left_out:
        _warn(source, [*left_out, *found.left_out])
    return FoldedCheckpoint(place, report, averaged, (*left_out, *found.left_out))


def _export(network: Mapping[str, Any], folder: str, name: str) -> str:
    from safetensors.numpy import save_file

    path = os.path.join(folder, f"{name}.safetensors")
    # Names alone do not tell Keras' from MindSpore's.
    save_file({key: numpy.ascontiguousarray(tensor) for key, tensor in network.items()}, path, metadata={"format": "tf"})
    return path


def _for_plan(options: Any) -> Any:
    return {key: value for key, value in options.items() if key in PlanOptions.__annotations__}


@contextlib.contextmanager
def _named(path: str, source: str) -> Iterator[None]:
    """What the program says of the temporary file is said of the checkpoint."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ProgramError as error:
            raise type(error)(str(error).replace(path, source), error.status, error.stderr.replace(path, source)) from None
    for one in caught:
        code = one.message.code if isinstance(one.message, BnfoldWarning) else ""
        text = str(one.message).replace(path, source)
        warnings.warn(BnfoldWarning(text, code) if code else one.message, stacklevel=4)


def _folded(path: str, options: Any) -> Tuple[Report, Dict[str, Any]]:
    from safetensors.numpy import load_file

    made = path.replace(".safetensors", ".folded.safetensors")
    report = _calls.fold(path, made, **options)
    assert isinstance(report, Report)
    return report, dict(load_file(made))


def _averaged(
    found: Variables, network: Mapping[str, Any], folder: str, source: str, options: Any
) -> Tuple[Optional[Report], Dict[str, Any]]:
    """The moving averages, folded; where a variable has none, the variable itself is its average."""
    if not found.averages:
        return None, {}
    averages = {name: found.averages.get(name, tensor) for name, tensor in found.network.items()}
    path = _export(averages, folder, "averages")
    with _named(path, f"{source} (moving averages)"):
        report, folded = _folded(path, options)
    needed = {
        name: tensor
        for name, tensor in folded.items()
        if name in found.averages or not numpy.array_equal(tensor, network[name])
    }
    lost = {name: tensor for name, tensor in found.averages.items() if name not in found.network}
    return report, {name + AVERAGE: tensor for name, tensor in {**needed, **lost}.items()}


def _stale(found: Variables, network: Mapping[str, Any]) -> Tuple[str, ...]:
    """What is kept for variables that are not any more what they were."""
    changed = [
        name
        for name in found.beside
        if name in found.network and (name not in network or not numpy.array_equal(network[name], found.network[name]))
    ]
    return tuple(sorted(beside for name in changed for beside in found.beside[name]))


def _warn(source: str, names: Any) -> None:
    text = f"{source}: {len(names)} tensors of optimizers do not fit what was folded and are left out, such as {names[0]}"
    warnings.warn(BnfoldWarning(text, "training-state"), stacklevel=3)
