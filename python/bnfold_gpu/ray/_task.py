"""What runs on the nodes: the program, on one model of the zoo.

Stage:  inside a Ray task.
In:     words of a command line. Out: what the program printed, as objects; an exception if the same may succeed later, so
        that Ray tries it again.

This file is sent to the nodes as it is, since one of them may lack the package; so it imports the package only in functions.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

PAUSE = 1.0
"""Seconds before a task ends that is to be tried again: what may pass takes a moment."""


class MayPass(RuntimeError):
    """The program failed in a way that may not happen again."""


def fold_model(place: str, words: Sequence[str], plan: Optional[str], version: str, uses_gpu: bool) -> Dict[str, Any]:
    """Folds the model at `place`. `unfit` says what is wrong with this node, `lines` what the program printed."""
    node = socket.gethostname()
    unfit = unfit_for(version)
    if unfit is not None:
        return {"node": node, "unfit": unfit, "lines": []}
    from bnfold_gpu import _process

    words = ["fold", "--quiet", "--format=json", f"--only={place}", *words, *(devices() if uses_gpu else [])]
    with as_file(plan) as followed:
        finished = _process.run([*words, *followed], before=dies_with_this_process())
    lines: List[Dict[str, Any]] = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    if not lines and finished.status == 2:
        return {"node": node, "unfit": None, "lines": [{"status": "failed", "error": str(_process.error_of(finished))}]}
    passing = [str(line["error"]) for line in lines if line["status"] == "failed" and line.get("transient")]
    # A run that says nothing of its model did not get to it: it was killed, or its device was lost.
    if passing or not lines or finished.status not in (0, 1):
        time.sleep(PAUSE)
        raise MayPass(f"{passing[0] if passing else _process.error_of(finished)} (on node {node})")
    return {"node": node, "unfit": None, "lines": lines}


@contextlib.contextmanager
def as_file(plan: Optional[str]) -> Iterator[List[str]]:
    """The option for a plan, which lies in a file for as long as it is needed."""
    if plan is None:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        path = os.path.join(folder, "plan.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(plan)
        yield [f"--plan={path}"]


def unfit_for(version: str, seen: Sequence[str] = ()) -> Optional[str]:
    """What keeps this node from folding with the driver's version, or from seeing files that the driver sees."""
    try:
        import bnfold_gpu
    except ImportError as error:
        return f"has no package bnfold_gpu for {sys.executable} ({error}): pip install bnfold-gpu=={version} on every node"
    if bnfold_gpu.__version__ != version:
        found = bnfold_gpu.__version__
        return f"has bnfold-gpu {found}, and the driver {version}: pip install bnfold-gpu=={version} on every node"
    try:
        bnfold_gpu.binary()
    except bnfold_gpu.BnfoldError as error:
        return f"cannot run the program: {error}"
    for path in seen:
        if not os.path.exists(path):
            return f"does not see {path}: use a file system that all nodes share, or URLs"
    return None


def devices() -> List[str]:
    """The option for the graphics cards that Ray gave to this task."""
    import ray

    numbers = [str(one) for one in ray.get_gpu_ids()]
    # Parts of a card have names instead of numbers; which adapter that is only the driver knows.
    if not numbers or not all(number.isdigit() for number in numbers):
        return ["--device=gpu"]
    return ["--device=" + ",".join(f"gpu:{number}" for number in numbers)]


def dies_with_this_process() -> Optional[Callable[[], None]]:
    """On Linux, what makes a child process end when this one is killed: Ray starts the task anew elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes
    import signal

    # Loaded here: between fork and exec nothing should be allocated that need not be.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]
    set_death_signal, terminate = 1, int(signal.SIGTERM)

    def before() -> None:
        prctl(set_death_signal, terminate)
        if os.getppid() != parent:
            os._exit(143)

    return before
