"""TensorFlow: checkpoints, folded and written back as checkpoints.

Stage:  around folding.
In:     the prefix of a checkpoint of TensorFlow 1 or 2. Out: a checkpoint without the norms that were folded.

    bnfold_gpu.tf.fold_checkpoint("mobilenet_v1.ckpt", "folded.ckpt")
"""

from __future__ import annotations

from ..errors import MissingLibrary

try:
    import tensorflow as _tensorflow  # noqa: F401
except ImportError as error:
    raise MissingLibrary("tensorflow", "bnfold_gpu.tf") from error

from ._fold import FoldedCheckpoint, fold_checkpoint, plan_checkpoint
from ._load import load_folded

__all__ = ["FoldedCheckpoint", "fold_checkpoint", "load_folded", "plan_checkpoint"]
