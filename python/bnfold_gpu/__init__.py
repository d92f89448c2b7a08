"""Folds batch norms into the layers before them, in `.safetensors` checkpoints.

Stage:  the face of the package; everything else is imported from here.
In:     paths of checkpoints, and options of the program `bnfold-gpu` as keywords.
Out:    typed reports (:class:`Report`), plans (:class:`Plan`) and errors (:class:`BnfoldError`).

    import bnfold_gpu
    bnfold_gpu.fold("resnet50.safetensors", "folded.safetensors")
    model = bnfold_gpu.torch.load_folded(timm.create_model("resnet50"), "folded.safetensors")

`bnfold_gpu.torch`, `.onnx`, `.keras`, `.tf` and `.ray` need PyTorch, ONNX, Keras, TensorFlow and Ray; each is imported when it is
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._binary import binary
from ._calls import archs, explain, fold, fold_zoo, plan, plan_zoo, verify
from ._convert import Conversions, Converted, convert
from ._version import __version__
from .errors import (
    BinaryNotFound,
    BinaryVersion,
    BnfoldError,
    BnfoldWarning,
    CheckFailed,
    CheckpointError,
    ConvertError,
    ConvertFailed,
    DeviceOrDriverCrash,
    Interrupted,
    LoadError,
    ManifestError,
    MissingLibrary,
    ModelFailed,
    NodeUnfit,
    PlanError,
    SeveralStateDicts,
    TraceError,
    UnexpectedAnswer,
    UnsafeFile,
    UsageError,
    ZooFailed,
)
from .plans import Layer, Plan
from .reports import Architecture, Failed, FoldedNorm, KeptNorm, Lint, Report, Skipped, Verification, Zoo

if TYPE_CHECKING:
    from . import keras, onnx, ray, tf, torch

_WITH_LIBRARIES = ("keras", "onnx", "ray", "tf", "torch")

__all__ = [
    "Architecture",
    "BinaryNotFound",
    "BinaryVersion",
    "BnfoldError",
    "BnfoldWarning",
    "CheckFailed",
    "CheckpointError",
    "Conversions",
    "ConvertError",
    "ConvertFailed",
    "Converted",
    "DeviceOrDriverCrash",
    "Failed",
    "FoldedNorm",
    "Interrupted",
    "KeptNorm",
    "Layer",
    "Lint",
    "LoadError",
    "ManifestError",
    "MissingLibrary",
    "ModelFailed",
    "NodeUnfit",
    "Plan",
    "PlanError",
    "Report",
    "SeveralStateDicts",
    "Skipped",
    "TraceError",
    "UnexpectedAnswer",
    "UnsafeFile",
    "UsageError",
    "Verification",
    "Zoo",
    "ZooFailed",
    "__version__",
    "archs",
    "binary",
    "convert",
    "explain",
    "fold",
    "fold_zoo",
    "onnx",
    "plan",
    "plan_zoo",
    "ray",
    "keras",
    "plan",
    "plan_zoo",
    "tf",
    "torch",
    "verify",
]


def __getattr__(name: str) -> Any:
    """The parts that need a library, when they are first asked for."""
    if name in _WITH_LIBRARIES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
