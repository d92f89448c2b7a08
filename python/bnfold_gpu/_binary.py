"""Finds the program.

Stage:  before every call.
In:     $BNFOLD_GPU, the folder for scripts of this Python, PATH.
Out:    the path of a program whose version is that of this package, or :class:`BinaryNotFound`, :class:`BinaryVersion`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import List, Tuple

from ._version import __version__
from .errors import BinaryNotFound, BinaryVersion

VARIABLE = "BNFOLD_GPU"
NAME = "bnfold-gpu.exe" if os.name == "nt" else "bnfold-gpu"


def binary() -> str:
    """The path of the program that is called.

    That is the one which the environment variable BNFOLD_GPU names, else the one that the wheel installed, else the
    first on PATH. Raises BinaryNotFound if there is none, and BinaryVersion if its version is another than the package's.
    """
    path = _find()
    _check_version(path, os.stat(path).st_mtime_ns)
    return path


def _find() -> str:
    named = os.environ.get(VARIABLE)
    if named:
        # What is named is meant: no other program takes its place.
        if not os.path.isfile(named):
            raise BinaryNotFound([f"{VARIABLE}={named}, which is no file"])
        return named
    places = _script_folders()
    for _, folder in places:
        candidate = os.path.join(folder, NAME)
        if os.path.isfile(candidate):
            return candidate
    on_path = shutil.which(NAME)
    if on_path:
        return on_path
    raise BinaryNotFound([f"{VARIABLE}, which is not set", *(f"{what} {folder}" for what, folder in places), "PATH"])


def _script_folders() -> List[Tuple[str, str]]:
    """Where installers put programs: into this environment, for this user, or beside `pip install --target`."""
    folders = [("the scripts of this environment", sysconfig.get_path("scripts"))]
    user_scheme = f"{os.name}_user"
    if user_scheme in sysconfig.get_scheme_names():
        folders.append(("the scripts of this user", sysconfig.get_path("scripts", user_scheme)))
    folders.append(("beside the package", str(Path(__file__).resolve().parent.parent / "bin")))
    return folders


@lru_cache(maxsize=8)
def _check_version(path: str, _changed: int) -> None:
    try:
        answer = subprocess.run([path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        found = answer.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        found = f"(it does not run: {error})"
    if found != f"bnfold-gpu {__version__}":
        raise BinaryVersion(path, __version__, found[:200])
