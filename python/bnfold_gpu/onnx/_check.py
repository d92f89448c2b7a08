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
from ._check_layers import Piece, difference, of_parts
from ._graph import Graph

BOUND = 1e-5
"""Largest difference that rounding is taken for, in parts of the largest output, for weights of 32 bits and more."""
_BOUNDS = {"F16": 5e-3, "BF16": 4e-2}
# Sizes for axes that have none, the likeliest first.
_SIZES = (224, 64, 32, 16, 8, 256, 299, 4, 1)


def bound_for(dtypes: Sequence[str]) -> float:
    """The bound that goes with the types of the folded weights."""
    return max([BOUND, *(_BOUNDS.get(dtype, 0.0) for dtype in dtypes)])


def well_formed(original: str, path: str) -> None:
    """CheckFailed if a file is no valid model by ONNX's own definition, and the original is."""
    try:
        onnx.checker.check_model(path)
    except Exception as error:  # the checker raises whatever its parts raise
        try:
            onnx.checker.check_model(original)
        except Exception as own:
            what = f"{original} is not valid by ONNX's checker, nor is the folded graph: {own}"
            warnings.warn(BnfoldWarning(what, "not-valid"), stacklevel=3)
        else:
            raise CheckFailed(f"{original}: the folded graph is not valid, and the original is: {error}") from error


@dataclass(frozen=True)
class Differences:
    """Largest differences, in parts of the largest: of any output, and of any part of the graph where outputs did not tell."""

    outputs: Optional[float] = None
    parts: Optional[float] = None


def differences(
    graph: Graph, folded: str, inputs: Optional[Mapping[str, Any]], bound: float, pieces: Sequence[Piece]
) -> Differences:
    """Runs both files in onnxruntime. None, with a warning, if it is not installed; CheckFailed if they are not the same.

    There are networks in which rounding alone makes outputs differ by more than the bound. If that is so, and no fault, every
    folded layer by itself and everything between them keeps the bound.
    """
    try:
        import onnxruntime
    except ImportError:
        what = f"{graph.path}: onnxruntime is not installed, so that the folded graph was not run: pip install onnxruntime"
        warnings.warn(BnfoldWarning(what, "unchecked"), stacklevel=3)
        return Differences()
    given = dict(inputs) if inputs is not None else _inputs(graph, _Session(onnxruntime, graph.path))
    expected = _Session(onnxruntime, graph.path).run(given)
    found = _largest(expected, _Session(onnxruntime, folded).run(given), graph.path)
    if found <= bound:
        return Differences(found)
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        parts = of_parts(graph.path, folded, pieces, given, folder, lambda path, own: _Session(onnxruntime, path).run(own))
    if not parts <= bound:
        raise CheckFailed(
            f"{graph.path}: the folded graph computes something else: outputs differ by {found:.1e} of the largest, and a part "
            f"of the graph by {parts:.1e}, bound {bound:.0e}. Nothing was written; look whether inputs= that are as in use make "
            "a difference, and report this as an error"
        )
    return Differences(found, parts)


class _Session:
    """A model as it is: onnxruntime would fold norms by itself, and so compare folded with folded."""

    def __init__(self, onnxruntime: Any, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
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
    real = [(one, other) for one, other in pairs if _is_real(one) and one.size]
    if not real:
        raise CheckFailed(f"{path} puts out no real numbers that could be compared; fold it unchecked with check=False")
    found = [difference(a, b) for a, b in real]
    # max() passes over a NaN that does not come first.
    return float("nan") if any(one != one for one in found) else max(found)


def _is_real(array: Any) -> bool:
    return bool(array.dtype.kind == "f" or array.dtype.name == "bfloat16")
