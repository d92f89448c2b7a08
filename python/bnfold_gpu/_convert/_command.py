"""`python -m bnfold_gpu convert FILE`.

Stage:  the command line.
In:     arguments. Out: a line per file; exit status 0, 1 if a file was not converted, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
from typing import List

from ..errors import BnfoldError, ConvertFailed
from ._convert import convert
from ._results import Conversions


def main(arguments: List[str]) -> int:
    """Runs the command; returns its exit status."""
    given = vars(_parser().parse_args(arguments))
    status = 0
    try:
        result = convert(**given)
    except ConvertFailed as error:
        result, status = error.conversions, 1
    except (BnfoldError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not isinstance(result, Conversions):
        print(result)
        return 0
    for outcome in result.converted:
        print(outcome)
    for failed in result.failed:
        print(f"error: {failed.error}", file=sys.stderr)
    print(result)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bnfold_gpu convert",
        description="Converts weights of PyTorch, Keras, ONNX, NumPy and Flax to .safetensors, and .safetensors to .pth. "
        "No code of a file is run.",
    )
    parser.add_argument("input", metavar="FILE", help="a file, or a folder whose files are converted")
    parser.add_argument("output", metavar="OUTPUT", nargs="?", help="a file or a folder; by default beside FILE")
    parser.add_argument("--to", choices=("safetensors", "pth"), help="what to write; by default the other of the two")
    parser.add_argument("--key", help="the entry that holds the weights, where a file has several")
    parser.add_argument("--format", help="framework of an .npz file: pt, mlx, tf, flax")
    parser.add_argument("--leave-out", metavar="GLOB", action="append", default=[], help="tensors that are not wanted")
    parser.add_argument("--untie", action="store_true", help="write tensors that overlap as separate ones")
    parser.add_argument("--force", action="store_true", help="replace outputs that exist")
    return parser
