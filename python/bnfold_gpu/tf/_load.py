"""`load_folded`: a Keras 3 model that takes a folded checkpoint.

Stage:  after folding.
In:     the original model and the prefix of a folded checkpoint. Out: a new model without the norms that were folded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._tensors import Folded
from ..keras._load import load_tensors
from ._read import PathLike, prefix_of, variables_of


def load_folded(model: Any, prefix: PathLike) -> Any:
    """The same as :func:`bnfold_gpu.keras.load_folded`, from a checkpoint that :func:`fold_checkpoint` wrote.

    Keras 3 does not restore a checkpoint by names. Weights are found by their `path`, which is what TensorFlow calls them.
    """
    path = prefix_of(prefix)
    return load_tensors(model, Folded(Path(path), variables_of(path).network, None))
