"""Does the folded graph compute what the original does?

Stage:  before a folded graph gets its name.
In:     two files, and inputs or none. Out: the largest differences; CheckFailed if they are too large.
"""

from __future__ import annotations

import itertools
import tempfile
import warnings
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy
import onnx

from ..errors import BnfoldWarning, CheckFailed
from ._check_layers import Piece, of_layers
from ._graph import Graph

BOUND = 1e-5
"""Largest difference that rounding is taken for, in parts of the largest output, for weights of 32 bits and more."""
_BOUNDS = {"F16": 5e-3, "BF16": 4e-2}
# By how much outputs may differ more than they do between two ways of running the original.
_ROOM_FOR_ROUNDING = 10.0
# Sizes for axes that have none, the likeliest first.
_SIZES = (224, 64, 32, 16, 8, 256, 299, 4, 1)


def bound_for(dtypes: Sequence[str]) -> float:
    """The bound that goes with the types of the folded weights."""
    return max([BOUND, *(_BOUNDS.get(dtype, 0.0) for dtype in dtypes)])


def well_formed(path: str) -> None:
    """CheckFailed if a file is no valid model, by ONNX's own definition."""
    try:
        onnx.checker.check_model(path)
    except Exception as error:  # the checker raises whatever its parts raise
        raise CheckFailed(f"the folded graph is not valid: {error}") from error


@dataclass(frozen=True)
class Differences:
    """Largest differences, in parts of the largest: of any output, and of any folded layer where outputs did not tell."""

    outputs: Optional[float] = None
    layers: Optional[float] = None


def differences(
    graph: Graph, folded: str, inputs: Optional[Mapping[str, Any]], bound: float, pieces: Sequence[Piece]
) -> Differences:
    """Runs both files in onnxruntime. None, with a warning, if it is not installed; CheckFailed if they are not the same.

    There are networks in which rounding alone makes outputs differ by more than the bound. That this is so, and no fault,
    is shown in two ways: every folded layer by itself keeps the bound, and the outputs differ by no more than ten times of
    what they do if onnxruntime folds the original.
    """
    try:
        import onnxruntime
    except ImportError:
        what = f"{graph.path}: onnxruntime is not installed, so that the folded graph was not run: pip install onnxruntime"
        warnings.warn(BnfoldWarning(what, "unchecked"), stacklevel=4)
        return Differences()
    given = dict(inputs) if inputs is not None else _inputs(graph, _Session(onnxruntime, graph.path))
    expected = _Session(onnxruntime, graph.path).run(given)
    found = _largest(expected, _Session(onnxruntime, folded).run(given), graph.path)
    if found <= bound:
        return Differences(found)
    rounding = _largest(expected, _Session(onnxruntime, graph.path, optimized=True).run(given), graph.path)
    most = max(bound, _ROOM_FOR_ROUNDING * rounding)
    if not found <= most:
        raise _another(graph.path, f"outputs differ by {found:.1e} of the largest, bound {most:.0e}")
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        layers = of_layers(graph.path, folded, pieces, given, folder, lambda path, own: _Session(onnxruntime, path).run(own))
    if not layers <= bound:
        raise _another(graph.path, f"a layer differs by {layers:.1e} of the largest number in it, bound {bound:.0e}")
    return Differences(found, layers)


def _another(path: str, what: str) -> CheckFailed:
    return CheckFailed(
        f"{path}: the folded graph computes something else: {what}. Nothing was written; look whether inputs= that are as in "
        "use make a difference, and report this as an error"
    )


class _Session:
    """A model as it is: onnxruntime would fold norms by itself, and so compare folded with folded."""

    def __init__(self, onnxruntime: Any, path: str, optimized: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base but this
            raise CheckFailed(f"{path}: onnxruntime does not load it: {error}; check=False folds it without running it") from error

    def run(self, given: Mapping[str, Any]) -> List[Any]:
        """All outputs."""
        try:
            outputs: List[Any] = self._session.run(None, dict(given))
        except Exception as error:
            raise CheckFailed(f"onnxruntime does not run the model: {error}; give it other inputs=") from error
        return outputs


def _inputs(graph: Graph, session: _Session) -> Dict[str, Any]:
    """Random inputs that the model takes; axes without a size get several in turn."""
    shapes = graph.input_shapes()
    free = {dim for _, shape in shapes.values() for place, dim in enumerate(shape) if isinstance(dim, str) and place > 0}
    failure: Optional[CheckFailed] = None
    for size in _SIZES if free else (1,):
        given = {name: _random(kind, [_size(dim, free, size) for dim in shape]) for name, (kind, shape) in shapes.items()}
        try:
            session.run(given)
            return given
        except CheckFailed as error:
            failure = error
    raise CheckFailed(
        f"{graph.path} does not run on random inputs, so that nothing can be compared: {failure}. Give it inputs={{name: array}}, "
        "or fold it unchecked with check=False"
    )


def _size(dim: Any, free: Any, size: int) -> int:
    if isinstance(dim, int):
        return dim
    return size if dim in free else 1


def _random(kind: int, shape: Sequence[int]) -> Any:
    generator = numpy.random.default_rng(0)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    if numpy.issubdtype(dtype, numpy.integer) or dtype == numpy.bool_:
        return generator.integers(0, 2, shape).astype(dtype)
    return generator.standard_normal(shape).astype(dtype)


def _largest(before: Sequence[Any], after: Sequence[Any], path: str) -> float:
    pairs = [(numpy.asarray(one), numpy.asarray(other)) for one, other in itertools.zip_longest(before, after)]
    if any(one.shape != other.shape for one, other in pairs):
        shapes = [(one.shape, other.shape) for one, other in pairs]
        raise CheckFailed(f"{path}: the folded graph has outputs of other shapes: {shapes}")
    real = [(a.astype(numpy.float64), b.astype(numpy.float64)) for a, b in pairs if _is_real(a) and a.size]
    if not real:
        raise CheckFailed(f"{path} puts out no real numbers that could be compared; fold it unchecked with check=False")
    found = [_difference(a, b) for a, b in real]
    # max() passes over a NaN that does not come first.
    return float("nan") if any(one != one for one in found) else max(found)


def _is_real(array: Any) -> bool:
    return bool(array.dtype.kind == "f" or array.dtype.name == "bfloat16")


def _difference(before: Any, after: Any) -> float:
    scale = float(numpy.abs(before).max())
    off = float(numpy.abs(before - after).max())
    return off / scale if scale else off
