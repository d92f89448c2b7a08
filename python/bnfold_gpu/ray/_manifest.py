"""The manifest: one JSON line a model, whatever happens to whom.

Stage:  while a zoo is folded, and at its end.
In:     outcomes as the program prints them. Out: a file that `bnfold-gpu report` reads.

Only the driver writes it. Lines go to `NAME.partial` as they come; when all are there, the whole manifest takes its name at
once. A driver that is killed leaves the lines so far, and the same call goes on with them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections import Counter
from typing import Any, Dict, List, Mapping, Optional, Sequence, TextIO

from ..errors import ManifestError

Line = Mapping[str, Any]


class Manifest:
    """The lines of a run, and those of runs before it over the same zoo."""

    def __init__(self, path: Optional[str]) -> None:
        """Reads what is there at the absolute `path`; ManifestError if that is something else."""
        self._path = path
        self._lines: Dict[str, Line] = {}
        self._earlier: Dict[str, Line] = {}
        self._journal: Optional[TextIO] = None
        if path is not None:
            partial = path + ".partial"
            for line in [*_read(path, whole=True), *_read(partial, whole=False)]:
                self._earlier[line["input"]] = self._best(line)
            folder = os.path.dirname(path)
            if not os.path.isdir(folder):
                raise ManifestError(f"{path}: cannot be written: there is no folder {folder}; make it first")

    def add(self, line: Line) -> None:
        """Takes what became of a model; a second line about it takes the place of the first."""
        line = self._best(line)
        self._lines[line["input"]] = line
        if self._path is None:
            return
        if self._journal is None:
            self._journal = open(self._path + ".partial", "a", encoding="utf-8")
            # The file may end in the middle of a line; an empty one does no harm.
            self._journal.write("\n")
        self._journal.write(_text(line))
        self._journal.flush()

    def text(self, inputs: Sequence[str]) -> str:
        """All lines: those of `inputs` in this order, then what else failed."""
        others = [name for name in self._lines if name not in set(inputs)]
        return "".join(_text(self._lines[name]) for name in [*inputs, *others])

    def finish(self, text: str) -> None:
        """Gives the whole manifest its name."""
        if self._path is None:
            return
        replace(self._path, text)
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path + ".partial")

    def close(self) -> None:
        """Leaves the lines so far where the same call finds them."""
        if self._journal is not None:
            self._journal.close()

    def _best(self, line: Line) -> Line:
        """A run that comes upon a result says less of it than the line of the run that made it."""
        made = self._earlier.get(line["input"])
        if line["status"] == "skipped" and made is not None and made["status"] == "folded" and _made(made, line):
            return made
        return line


def replace(path: str, text: str) -> None:
    """Writes a file that is there whole or as it was."""
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix=".bnfold-", suffix=".tmp", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            # Temporary files are for their owner alone; a manifest is as any other new file.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(file.name, 0o666 & ~mask)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _text(line: Line) -> str:
    return json.dumps(line) + "\n"


def _read(path: str, whole: bool) -> List[Line]:
    """The lines of a file; of one that is not `whole` those that can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            texts = file.read().split("\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read as a manifest: {error}; pass another manifest=") from None
    if not whole and not next((text for text in texts if text.strip()), "{").startswith("{"):
        raise ManifestError(f"{path}: is there already and holds no lines of a manifest; pass another manifest=, or remove it")
    lines: List[Line] = []
    for number, text in enumerate(texts, 1):
        line = _line(text)
        if line is not None:
            lines.append(line)
        elif whole and text.strip():
            found = text[:80]
            raise ManifestError(
                f"{path}:{number}: is there already, and this is no line of a manifest (status, input): {found!r}; "
                "it is not replaced: pass another manifest=, or remove it"
            )
    return lines


def _line(text: str) -> Optional[Line]:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    is_one = isinstance(line, dict) and all(isinstance(line.get(key), str) for key in ("status", "input"))
    return line if is_one else None


def _made(made: Line, found: Line) -> bool:
    """Whether the line `made` is about the result that was found."""
    try:
        figures, bytes_out = found["earlier"]["figures"], found["earlier"]["bytes_out"]
        used = Counter((layer["eps"], layer["eps_code"]) for layer in made["folded"])
        return bool(
            found["earlier"]["done_before"]
            and made["output"] == found["output"]
            and made["bytes_out"] == bytes_out
            and made["style"] == figures["style"]
            and made["layers"] == {"folded": figures["folded"], "kept": figures["kept"]}
            and used == {(one["eps"], one["source"]): one["norms"] for one in figures["eps"]}
        )
    except (KeyError, TypeError):
        return False
