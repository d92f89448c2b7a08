"""`bnfold_gpu.convert`: weights of other formats to `.safetensors`, and back to `.pth`.

Stage:  before folding (and after it, on the way back).
In:     a file of PyTorch, Keras, ONNX, NumPy or Flax, or a folder of them. Out: a checkpoint whose names the planner knows.

A file is read by one module per format (`_torch`, `_torchscript`, `_keras`, `_onnx`, `_numpy`, `_flax`), each of which gives
:class:`~._weights.Weights`, and written by `_write`. No file's own code is ever run.
"""

from __future__ import annotations

from ._convert import convert
from ._results import Conversions, Converted

__all__ = ["Conversions", "Converted", "convert"]
