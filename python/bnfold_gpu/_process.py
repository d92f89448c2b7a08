"""Runs the program and reads what it prints while it prints it.

Stage:  every call.
In:     arguments. Out: lines of stdout as they come; then an exit status and the text of stderr, or a typed error.
"""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Type

from ._binary import binary
from .errors import DeviceOrDriverCrash, Interrupted, ModelFailed, ProgramError, UnexpectedAnswer, UsageError


@dataclass(frozen=True)
class Finished:
    """A run of the program that ended; `status` is negative for a signal."""

    status: int
    stdout: str
    stderr: str


def run(
    arguments: Sequence[str],
    on_line: Optional[Callable[[str], None]] = None,
    before: Optional[Callable[[], None]] = None,
) -> Finished:
    """Runs the program to its end; `on_line` gets every line of stdout at once. No shell is involved.

    `before` runs in the new process before it becomes the program.
    """
    process = subprocess.Popen(
        [binary(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        preexec_fn=before,
    )
    assert process.stdout is not None and process.stderr is not None
    said: List[str] = []
    # A pipe that nobody empties would stop the program.
    listener = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
    listener.start()
    lines: List[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if on_line is not None:
                on_line(line)
        status = process.wait()
    except BaseException:
        # Ctrl-C, or an error of `on_line`: the program removes what is unfinished when it is asked to stop.
        process.terminate()
        process.wait()
        raise
    finally:
        listener.join()
        process.stdout.close()
        process.stderr.close()
    return Finished(status, "".join(lines), "".join(said))


def error_of(finished: Finished) -> ProgramError:
    """The error that a failed run is."""
    status, stderr = finished.status, finished.stderr
    kind = _kind(status)
    return kind(_message(status, stderr), status, stderr)


def _kind(status: int) -> Type[ProgramError]:
    if status < 0:
        return DeviceOrDriverCrash
    return {1: ModelFailed, 2: UsageError, 130: Interrupted}.get(status, ProgramError)


def _message(status: int, stderr: str) -> str:
    lines = stderr.strip().splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("error:")]
    if starts:
        # What follows the first error belongs to it: hints, and the errors of other models.
        return "\n".join(lines[starts[0] :]).replace("error: ", "", 1)
    if status < 0:
        return f"bnfold-gpu died of signal {-status}" + (f": {lines[-1]}" if lines else "")
    return lines[-1] if lines else f"bnfold-gpu ended with exit status {status} and said nothing"


def text_of(arguments: Sequence[str]) -> str:
    """What a run prints; the error that it is, if it fails."""
    finished = run(arguments)
    if finished.status != 0:
        raise error_of(finished)
    return finished.stdout


def not_understood(command: str, text: str, why: object) -> UnexpectedAnswer:
    """The error for an answer that is no JSON of the expected form."""
    return UnexpectedAnswer(f"bnfold-gpu {command} printed something unexpected: {why}: {text[:200]!r}")
