"""`python -m bnfold_gpu ...`: the program, and the command `convert` of this package.

Stage:  the command line of the package.
In:     arguments. Out: the exit status of the program.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import List

from ._binary import binary
from .errors import BnfoldError


def main(arguments: List[str]) -> int:
    """Runs one command; returns its exit status."""
    if arguments[:1] == ["convert"]:
        from ._convert._command import main as convert

        return convert(arguments[1:])
    try:
        program = binary()
    except BnfoldError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if os.name == "nt":
        return subprocess.run([program, *arguments], check=False).returncode
    # The program takes this process over, so that signals and the terminal are its own.
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
