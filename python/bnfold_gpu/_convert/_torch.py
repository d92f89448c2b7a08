"""Reads what `torch.save` wrote, without running any code that the file brings along.

Stage:  reading.
In:     a `.pt`, `.pth`, `.bin` or `.ckpt` file. Out: one state dict of it.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ..errors import ConvertError, MissingLibrary, UnsafeFile
from ._choose import choose
from ._weights import Weights


def read(path: Path, key: Optional[str]) -> Weights:
    """The state dict that `key` names, or the only one."""
    chosen = choose(path, _load(path), key)
    return Weights("a PyTorch checkpoint", chosen.tensors, True, "pt", chosen.key, left_out=chosen.left_out)


def _load(path: Path) -> Any:
    torch = imported()
    try:
        with torch.serialization.safe_globals(_inert(torch)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged or hostile pickle raises anything.
        found = _unsafe(path, str(error))
        if found:
            raise _refusal(path, found) from error
        raise ConvertError(f"{path}: PyTorch cannot read it: {_first_line(error)}") from error


def imported() -> Any:
    """The library."""
    try:
        import torch
    except ImportError as error:
        raise MissingLibrary("torch", "converting a file of PyTorch") from error
    return torch


def _inert(torch: Any) -> List[Any]:
    """What training scripts store beside weights and what runs nothing when it is read: arguments, and numbers of NumPy."""
    try:
        import numpy as np
    except ImportError:
        return [argparse.Namespace]
    core = getattr(np, "_core", None) or np.core
    functions: List[Any] = [core.multiarray.scalar, core.multiarray._reconstruct]
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6):
        # Files name these as the NumPy that wrote them did; before, PyTorch takes them under their present name only.
        functions = [(one, f"numpy.{part}.multiarray.{one.__name__}") for one in functions for part in ("core", "_core")]
    return [argparse.Namespace, *functions, np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"}]


def _unsafe(path: Path, message: str) -> Tuple[str, ...]:
    """Names of what the file wants to run; none if it failed for another reason."""
    if "weights_only" not in message and "Weights only" not in message:
        return ()
    torch = imported()
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # It lists files of the newer format only.
        found = []
    named = re.findall(r"[Uu]nsupported (?:global|class|operand|GLOBAL)\S* (?:GLOBAL )?([\w.]+\.\w+)", message)
    return tuple(sorted(found)) or tuple(named) or ("objects of Python",)


def _refusal(path: Path, found: Tuple[str, ...]) -> UnsafeFile:
    name, state = str(path), str(path.with_name(path.stem + ".state.pth"))
    return UnsafeFile(
        f"{path}: it holds objects of Python beside tensors ({', '.join(found[:8])}{', ...' if len(found) > 8 else ''}), and "
        "reading these would run code that whoever wrote the file chose. If you trust it, save its state dict where that "
        f"code is installed, and convert that:\n"
        f"    import torch\n"
        f"    found = torch.load({name!r}, 'cpu', weights_only=False)\n"
        f"    model = found['model'] if isinstance(found, dict) else found  # or another key of found.keys()\n"
        f"    torch.save(model.state_dict() if hasattr(model, 'state_dict') else model, {state!r})",
        found,
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def tensors_of(mapping: Dict[Any, Any]) -> Dict[str, Any]:
    """The tensors of a mapping whose keys are names."""
    torch = imported()
    return {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}
