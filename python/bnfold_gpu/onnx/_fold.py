"""`fold`: a graph in, a graph without the norms that could be folded out.

Stage:  instead of folding a checkpoint, where all there is is a graph.
In:     an ONNX model. Out: another, and a :class:`Folded` that says what was done.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy

from .. import _calls, _safetensors
from .._judge import Source, layers
from ..errors import BnfoldWarning, ProgramError, TraceError, UnexpectedAnswer
from ..plans import Plan
from ..reports import Report
from . import _check, _output
from ._check_layers import Piece
from ._follow import Walk, Walker
from ._graph import Graph, read
from ._layers import NormNode
from ._own import Own
from ._plan import PathLike
from ._rewrite import Rewriter
from ._tensors import tensors_of

_SOURCE = Source(
    eps="the graph's attribute",
    evidence="the graph was followed: this layer alone feeds the norm, and nothing else reads it",
    code="graph",
    not_run="it is not in the main graph",
)


@dataclass(frozen=True)
class Folded:
    """A graph that was folded. `plan` has every norm of it, those that stayed with the reason; `report` is the program's, None
    if there was nothing to fold. `difference` is that of the outputs, in parts of the largest; None if they were not compared.
    `parts_difference` is the largest of any folded layer by itself, and of what is
    between them; None unless the network makes rounding large."""

    input: str
    output: str
    plan: Plan
    report: Optional[Report]
    difference: Optional[float] = None
    parts_difference: Optional[float] = None


def fold(
    onnx_file: PathLike,
    output: PathLike,
    *,
    inputs: Optional[Mapping[str, Any]] = None,
    check: bool = True,
    force: bool = False,
    device: str = "auto",
    allow_non_finite: bool = False,
) -> Folded:
    """Folds the norms of a graph into its layers, with the arithmetic of the program, and removes them.

    Norms that cannot be folded stay, and everything else is as it was. A model with tensors in files of their own gets one
    such file, `OUTPUT.data`. The result is checked before it gets its name: by ONNX's checker, and by onnxruntime, where it is
    installed, against the original. `inputs` are those of the model by name, random ones without; `check=False` leaves running
    both out. `device` and `allow_non_finite` are options of the program.

    Raises :class:`TraceError` for a file that is no model, :class:`CheckFailed` if the outputs differ, :class:`UsageError` if the
    output exists and `force` does not say to replace it, and what the program raises. Then nothing was written.
    """
    source, target = os.fspath(onnx_file), os.fspath(output)
    _output.refuse_existing(target, force)
    graph = read(source)
    if graph.model.training_info:
        raise TraceError(f"{source} says how it is to be trained, and its norms are a part of that; remove training_info first")
    folder = os.path.dirname(os.path.abspath(source))
    own = Own(graph)
    walk = Walker(graph, own).follow()
    plan = Plan(layers(walk.record, own, _SOURCE), input=source)
    pieces = _pieces(graph, own, walk, plan)
    types = [graph.dtype(own.roots[layer.weight]) or "" for layer in plan.folds if layer.weight]
    with _output.beside(target) as made:
        options = {"device": device, "allow_non_finite": allow_non_finite}
        report, rewriter = _folded(graph, own, walk, plan, options, target)
        _output.write(graph, folder, made)
        _check.well_formed(source, made)
        found = _check.Differences()
        if check:
            pieces = [replace(one, new_source=rewriter.now(one.source), new_output=rewriter.now(one.output)) for one in pieces]
            found = _check.differences(graph, made, inputs, _check.bound_for(types), pieces)
        _output.place(made, target, force)
    return Folded(source, target, plan, report, found.outputs, found.parts)


def _pieces(graph: Graph, own: Own, walk: Walk, plan: Plan) -> List[Piece]:
    """Where the folded layers are, before anything is changed."""
    pieces: List[Piece] = []
    for layer in plan.folds:
        for seen, place in zip(walk.record.norms[layer.norm], walk.nodes[layer.norm]):
            assert seen.call is not None
            site, output = walk.sites[seen.call], graph.nodes[place].output[0]
            assert site is not None
            added = _added(graph, own.norm_nodes[layer.norm])
            pieces.append(Piece(layer.norm, added, site.layer.source, output, site.layer.source, output))
    return pieces


def _added(graph: Graph, norm: NormNode) -> float:
    """The largest number that a norm takes away from what it has scaled."""
    scale, _, mean, variance = (graph.numbers(graph.constants[value].root) for value in norm.parts)
    with numpy.errstate(all="ignore"):  # the program says what is wrong with a variance
        return float(abs(scale * mean / (variance + norm.eps) ** 0.5).max())


def _folded(
    graph: Graph, own: Own, walk: Walk, plan: Plan, options: Dict[str, Any], target: str
) -> Tuple[Optional[Report], Rewriter]:
    """Folds the tensors that take part, and puts them into the graph."""
    rewriter = Rewriter(graph, walk, own)
    if not plan.folds:
        what = f"none of its {len(plan)} norms can be folded" if len(plan) else "it has no norm"
        warnings.warn(BnfoldWarning(f"{graph.path}: {what}; the graph was copied as it is", "nothing-to-fold"), stacklevel=3)
        return None, rewriter
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        before, after = (os.path.join(folder, f"{name}.safetensors") for name in ("graph", "folded"))
        _safetensors.write(before, tensors_of(graph, own, walk, plan.folds))
        report = _run(graph.path, before, after, replace(plan, layers=plan.folds, input=None), options)
        folded = _safetensors.read(after, UnexpectedAnswer)
        _as_expected(plan, folded, report)
        rewriter.apply(plan.folds, folded)
    return replace(report, input=graph.path, output=target), rewriter


def _run(path: str, before: str, after: str, plan: Plan, options: Dict[str, Any]) -> Report:
    """The program's run; what it says of the file that it was given, it says of the graph."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            report = _calls.fold(before, after, plan=plan, style="strip", no_record=True, no_sync=True, **options)
    except ProgramError as error:
        raise type(error)(str(error).replace(before, path), error.status, error.stderr.replace(before, path)) from error
    for one in said:
        if isinstance(one.message, BnfoldWarning):
            warnings.warn(BnfoldWarning(str(one.message).replace(before, path), one.message.code), stacklevel=4)
    if not isinstance(report, Report):
        raise UnexpectedAnswer(f"{path}: bnfold-gpu did not fold what it was given: {report}")
    return report


def _as_expected(plan: Plan, folded: Mapping[str, Any], report: Report) -> None:
    """Nothing goes into the graph unless all of the plan was done."""
    wanted: Tuple[str, ...] = tuple(name for layer in plan.folds for name in (layer.weight, layer.bias) if name)
    missing = sorted(set(wanted) - set(folded))
    left = sorted(layer.norm for layer in plan.folds if f"{layer.norm}.running_var" in folded)
    if missing or left or report.layers.folded != len(plan.folds):
        raise UnexpectedAnswer(f"{plan.input}: the program left something out: tensors {missing[:3]}, norms {left[:3]}")
