"""PyTorch: exact plans from live models, and models that take folded files.

Stage:  before folding (`make_plan`, `compare`) and after it (`load_folded`, `load_folded_pretrained`, `check`).
In:     a module and example inputs. Out: a plan, or a model that runs.

    plan = bnfold_gpu.torch.make_plan(model, torch.randn(1, 3, 224, 224))
    bnfold_gpu.fold("model.safetensors", "folded.safetensors", plan=plan)
    model = bnfold_gpu.torch.load_folded(model, "folded.safetensors")
"""

from __future__ import annotations

from ..errors import MissingLibrary

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingLibrary("torch", "bnfold_gpu.torch") from error

from ._check import Verdict, check
from .._compare import Comparison, Contradiction, compare
from ._load import load_folded, load_folded_pretrained
from ._plan import make_plan
from ._strip import FoldedNorm

__all__ = [
    "Comparison",
    "Contradiction",
    "FoldedNorm",
    "Verdict",
    "check",
    "compare",
    "load_folded",
    "load_folded_pretrained",
    "make_plan",
]
