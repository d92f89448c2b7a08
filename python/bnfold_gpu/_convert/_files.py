"""Files that are written whole, or not at all.

Stage:  at the end of a conversion.
In:     a path, and a function that writes a file. Out: the file under its name; nothing if anything fails.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Callable

from ..errors import ConvertError


def refuse_existing(target: Path, force: bool) -> None:
    """ConvertError if `target` exists and may not be replaced, or has no folder to be in."""
    if target.is_dir() or (os.path.lexists(target) and not force):
        advice = "name another output" if target.is_dir() else "name another output, or replace it with force=True (--force)"
        raise ConvertError(f"{target} exists; {advice}")
    if not target.parent.is_dir():
        raise ConvertError(f"{target}: there is no such folder as {target.parent}; create it first")


def write_whole(target: Path, force: bool, write: Callable[[Path], None]) -> None:
    """Lets `write` write to a temporary file beside `target`, and renames that."""
    refuse_existing(target, force)
    # In a folder of its own, as libraries write under other names before they write under this one.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bnfold-") as folder:
        unfinished = Path(folder, target.name)
        write(unfinished)
        _like_new(unfinished)
        _to_disk(unfinished)
        if force:
            os.replace(unfinished, target)
        else:
            _rename_to_free(unfinished, target)


def _like_new(path: Path) -> None:
    """Gives a file the permissions of a new one; some libraries make files for their owner alone."""
    other = path.with_name(path.name + ".new")
    other.touch()
    path.chmod(stat.S_IMODE(other.stat().st_mode))


def _to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _rename_to_free(unfinished: Path, target: Path) -> None:
    """Unlike a rename, a link does not replace what another program has written in the meantime."""
    try:
        os.link(unfinished, target)
    except FileExistsError:
        refuse_existing(target, force=False)
    except OSError:
        # A file system without links.
        refuse_existing(target, force=False)
        os.rename(unfinished, target)
