"""Keras 3: exact plans from live models, and models without the norms that were folded.

Stage:  before folding (`make_plan`, `save`) and after it (`load_folded`).
In:     a functional or sequential model, on any backend. Out: a plan, a checkpoint, or a model that runs.

    bnfold_gpu.keras.save(model, "model.safetensors")
    plan = bnfold_gpu.keras.make_plan(model)
    bnfold_gpu.fold("model.safetensors", "folded.safetensors", plan=plan)
    model = bnfold_gpu.keras.load_folded(model, "folded.safetensors")
"""

from __future__ import annotations

from ..errors import MissingLibrary

try:
    import keras as _keras  # noqa: F401
except ImportError as error:
    raise MissingLibrary("keras", "bnfold_gpu.keras") from error
if int(_keras.__version__.split(".")[0]) < 3:
    raise MissingLibrary("keras>=3", "bnfold_gpu.keras", "keras")

from .._compare import Comparison, Contradiction, compare
from ._load import load_folded
from ._plan import make_plan
from ._save import save

__all__ = ["Comparison", "Contradiction", "compare", "load_folded", "make_plan", "save"]
