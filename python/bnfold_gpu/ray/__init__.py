"""Ray: a zoo folded by a cluster, one task a model.

Stage:  many models on many machines.
In:     checkpoints where every node sees them, or URLs. Out: a :class:`~bnfold_gpu.Zoo`, a manifest and a page.

    bnfold_gpu.ray.fold_zoo("s3://bucket/zoo", "s3://bucket/folded", manifest="folded.jsonl", report="folded.html")

Ray decides what runs where, what is tried again and when. The program finds the models and knows what is done.
"""

from __future__ import annotations

from ..errors import MissingLibrary

try:
    import ray as _ray  # noqa: F401
except ImportError as error:
    raise MissingLibrary("ray", "bnfold_gpu.ray") from error

from ._fleet import fold_zoo

__all__ = ["fold_zoo"]
