"""ONNX: exact plans from graphs, and graphs that are folded.

Stage:  before folding (`make_plan`), or instead of folding a checkpoint (`fold`).
In:     an `.onnx` file; for a plan also the `.safetensors` file that it was exported from. Out: a plan, or another graph.

    plan = bnfold_gpu.onnx.make_plan("model.onnx", "model.safetensors")
    bnfold_gpu.onnx.fold("model.onnx", "folded.onnx")
"""

from __future__ import annotations

from ..errors import MissingLibrary

try:
    import onnx as _onnx  # noqa: F401
except ImportError as error:
    raise MissingLibrary("onnx", "bnfold_gpu.onnx") from error

from ._fold import Folded, fold
from ._plan import make_plan

__all__ = ["Folded", "fold", "make_plan"]
